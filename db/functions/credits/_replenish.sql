-- credits._replenish: another block for an unlimited account that ran short.
create or replace function credits._replenish(p_account credits.accounts, p_amount bigint)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_block bigint := greatest(credits._unlimited_block(), p_amount + p_account.overage);
begin
    if v_block > credits._room(p_account)
        or p_account.funded_until is not null
        and p_account.period_start >= p_account.funded_until
    then
        return p_account;
    end if;
    return credits._give(
        p_account, 'replenish', 'plan_allocation', 'paid', 10, v_block,
        p_account.clock_at, p_account.period_end);
end
$$;
