-- events.emit: say in the outbox what happened, in the transaction in which it happened.
create or replace function events.emit(
    p_account_id uuid,
    p_version bigint,
    p_type text,
    p_payload jsonb,
    p_at timestamptz
)
returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    insert into events.outbox (account_id, version, type, payload, created_at)
    values (p_account_id, p_version, p_type, p_payload, p_at)
$$;
