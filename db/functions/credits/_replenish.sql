-- credits._replenish: another block for an unlimited account that ran short.
create or replace function credits._replenish(p_account credits.accounts, p_amount bigint)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_account.funded_until is not null
        and p_account.period_start >= p_account.funded_until
    then
        return p_account;
    end if;
    return credits._give(
        p_account, 'replenish', 'plan_allocation', 'paid', 10,
        greatest(credits._unlimited_block(), p_amount + p_account.overage),
        p_account.clock_at, p_account.period_end);
end
$$;
