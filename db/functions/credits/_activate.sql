-- credits._activate: a grant becomes effective, and its ledger row is written.
--
-- Debt is paid first. Of that, what was spent without any grant behind it is drawn
-- from this grant at once; what only backs open reservations stays in it.
create or replace function credits._activate(
    p_account credits.accounts,
    p_grant_id uuid,
    p_at timestamptz
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_grant credits.grants;
    v_paid bigint;
    v_drawn bigint;
begin
    select g.* into strict v_grant
    from credits.grants as g
    where g.account_id = p_account.account_id and g.id = p_grant_id;

    v_drawn := least(v_grant.amount,
        v_account.monthly + v_account.bonus + v_account.overage
        - v_account.available - v_account.reserved);
    v_paid := least(v_grant.amount, v_account.overage);
    v_account.version := v_account.version + 1;
    v_account.granted_total := v_account.granted_total + v_grant.amount;
    v_account.overage := v_account.overage - v_paid;
    v_account.available := v_account.available + v_grant.amount - v_paid;
    if v_grant.pool = 'monthly' then
        v_account.monthly := v_account.monthly + v_grant.amount - v_drawn;
    else
        v_account.bonus := v_account.bonus + v_grant.amount - v_drawn;
    end if;

    update credits.grants as g
    set remaining = g.amount - v_drawn,
        state = case when g.amount = v_drawn then 'closed' else 'live' end,
        version = v_account.version
    where g.account_id = p_account.account_id and g.id = p_grant_id;

    insert into credits.transactions (
        account_id, version, type, operation, amount,
        available_after, reserved_after, overage_after, grant_id, refund_of,
        drawn_grant_ids, drawn_amounts, reason, actor_kind, actor_id, actor_label,
        metadata, created_at
    ) values (
        v_account.account_id, v_account.version, v_grant.source, v_grant.operation, v_grant.amount,
        v_account.available, v_account.reserved, v_account.overage, v_grant.id, v_grant.refund_of,
        case when v_drawn > 0 then array[v_grant.id] end,
        case when v_drawn > 0 then array[v_drawn] end,
        v_grant.reason, v_grant.actor_kind, v_grant.actor_id, v_grant.actor_label,
        v_grant.metadata, p_at
    );
    perform events.emit(v_account.account_id, v_account.version, 'credits.granted',
        jsonb_build_object('grantId', v_grant.id, 'amount', v_grant.amount,
            'source', v_grant.source), p_at);
    return v_account;
end
$$;
