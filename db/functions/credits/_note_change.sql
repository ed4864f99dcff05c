-- credits._note_change: record a change of terms or period under a version of its own.
create or replace function credits._note_change(
    p_account credits.accounts,
    p_operation text,
    p_before jsonb,
    p_after jsonb,
    p_at timestamptz,
    p_idempotency_key text default null,
    p_fingerprint bytea default null,
    p_reason text default null,
    p_actor credits.actor default null
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
begin
    v_account.version := v_account.version + 1;
    insert into credits.account_changes (
        account_id, version, operation, before, after, reason,
        idempotency_key, fingerprint, actor_kind, actor_id, actor_label, created_at
    ) values (
        v_account.account_id, v_account.version, p_operation, p_before, p_after, p_reason,
        p_idempotency_key, p_fingerprint,
        (p_actor).kind, (p_actor).id, (p_actor).label, p_at
    );
    return v_account;
end
$$;
