-- core.idempotency_complete: store the response that a repeated key will get again.
--
-- locks     the key, held since core.idempotency_begin
-- refuses   nothing
-- replays   overwrites with the same
-- ends in   core.idempotency_clear, after 48 hours
create or replace function core.idempotency_complete(
    p_scope text,
    p_key text,
    p_response bytea
)
returns void
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    update core.idempotency_keys as k
    set response = p_response
    where k.scope = p_scope and k.key = p_key
$$;
grant execute on function core.idempotency_complete to exchequer_app;
