-- credits._take: part of one grant expires or is taken back, with its ledger row.
--
-- The amount is no more than what the grant has left. Available pays; if reservations
-- hold what is taken, the account owes it.
create or replace function credits._take(
    p_account credits.accounts,
    p_grant_id uuid,
    p_amount bigint,
    p_type text,
    p_operation text,
    p_at timestamptz,
    p_reason text default null,
    p_actor credits.actor default null
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_grant credits.grants;
    v_paid bigint := least(p_account.available, p_amount);
begin
    select g.* into strict v_grant
    from credits.grants as g
    where g.account_id = p_account.account_id and g.id = p_grant_id;

    update credits.grants as g
    set remaining = g.remaining - p_amount,
        forfeited = g.forfeited + p_amount,
        state = case when g.remaining = p_amount then 'closed' else g.state end
    where g.account_id = p_account.account_id and g.id = p_grant_id;

    v_account.version := v_account.version + 1;
    v_account.available := v_account.available - v_paid;
    v_account.overage := v_account.overage + p_amount - v_paid;
    if p_type = 'expiration' then
        v_account.expired_total := v_account.expired_total + p_amount;
    else
        v_account.clawed_back_total := v_account.clawed_back_total + p_amount;
    end if;
    if v_grant.pool = 'monthly' then
        v_account.monthly := v_account.monthly - p_amount;
    else
        v_account.bonus := v_account.bonus - p_amount;
    end if;
    if v_grant.state = 'lapsed' then
        v_account.lapsed := v_account.lapsed - p_amount;
    end if;

    insert into credits.transactions (
        account_id, version, type, operation, amount,
        available_after, reserved_after, overage_after, grant_id,
        drawn_grant_ids, drawn_amounts, reason, actor_kind, actor_id, actor_label, created_at
    ) values (
        v_account.account_id, v_account.version, p_type, p_operation, -p_amount,
        v_account.available, v_account.reserved, v_account.overage, p_grant_id,
        array[p_grant_id], array[p_amount], p_reason,
        (p_actor).kind, (p_actor).id, (p_actor).label, p_at
    );
    return v_account;
end
$$;
