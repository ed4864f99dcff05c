-- credits._give: add a grant to an account that is locked.
--
-- Effective now, it is activated and has its ledger row; of the future, it counts
-- nowhere until it comes due.
create or replace function credits._give(
    p_account credits.accounts,
    p_operation text,
    p_source text,
    p_category text,
    p_priority int,
    p_amount bigint,
    p_effective_at timestamptz,
    p_expires_at timestamptz,
    p_idempotency_key text default null,
    p_fingerprint bytea default null,
    p_source_ref text default null,
    p_refund_of bigint default null,
    p_reason text default null,
    p_actor credits.actor default null,
    p_metadata jsonb default null
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_id uuid := core.uuidv7();
begin
    if p_amount > credits._room(v_account) then
        perform core.refuse('XLIMT', jsonb_build_object('limit', credits._lifetime_limit()));
    end if;
    insert into credits.grants (
        account_id, id, operation, source, category, pool, priority, amount, remaining, state,
        effective_at, expires_at, refund_of, source_ref, reason, idempotency_key, fingerprint,
        actor_kind, actor_id, actor_label, metadata, created_at
    ) values (
        v_account.account_id, v_id, p_operation, p_source, p_category,
        case when p_source in ('plan_allocation', 'plan_change', 'rollover')
            then 'monthly' else 'bonus' end,
        p_priority, p_amount, p_amount, 'scheduled',
        p_effective_at, p_expires_at, p_refund_of, p_source_ref, p_reason,
        p_idempotency_key, p_fingerprint,
        (p_actor).kind, (p_actor).id, (p_actor).label, p_metadata, v_account.clock_at
    );
    if p_effective_at <= v_account.clock_at then
        v_account := credits._activate(v_account, v_id, p_effective_at);
    end if;
    v_account.next_due_at := credits._next_due(v_account);
    return v_account;
end
$$;
