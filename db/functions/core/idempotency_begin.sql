-- core.idempotency_begin: claim a key, or learn the first response given under it.
--
-- For mutations that move no credits. Called in the transaction that does the work, so
-- that claim and effect commit together: a second caller waits here for the first, then
-- replays. A key is valid for 24 hours; after that it is new again.
--
-- locks     the key
-- refuses   IDEMX (the key came with another request), XINPT
-- replays   answers the stored response
-- ends in   core.idempotency_complete
create or replace function core.idempotency_begin(
    p_scope text,
    p_key text,
    p_request_hash bytea
)
returns table (replayed boolean, response bytea)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_seen core.idempotency_keys;
begin
    if coalesce(length(p_key), 0) not between 1 and 255 then
        perform core.refuse('XINPT', jsonb_build_object(
            'field', 'idempotencyKey', 'reason', 'must have 1 to 255 characters'));
    end if;
    loop
        insert into core.idempotency_keys (scope, key, request_hash, created_at)
        values (p_scope, p_key, p_request_hash, core.clock())
        on conflict on constraint idempotency_keys_pkey do nothing;
        if found then
            return query select false, null::bytea;
            return;
        end if;

        select k.* into v_seen
        from core.idempotency_keys as k
        where k.scope = p_scope and k.key = p_key
        for no key update;
        -- Not found: cleared away since the insert met it, so the key is new.
        exit when found;
    end loop;
    if v_seen.created_at < core.clock() - interval '24 hours' then
        update core.idempotency_keys as k
        set request_hash = p_request_hash, response = null, created_at = core.clock()
        where k.scope = p_scope and k.key = p_key;
        return query select false, null::bytea;
    elsif v_seen.request_hash <> p_request_hash then
        perform core.refuse('IDEMX', jsonb_build_object('idempotencyKey', p_key));
    else
        return query select true, v_seen.response;
    end if;
end
$$;
grant execute on function core.idempotency_begin to exchequer_app;
