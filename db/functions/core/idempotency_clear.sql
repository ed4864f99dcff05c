-- core.idempotency_clear: stored responses older than 48 hours go, at most 1,000 a call.
--
-- locks     the keys it removes, skipping those in use
-- refuses   nothing
-- replays   nothing old, nothing done
-- ends in   itself
create or replace function core.idempotency_clear()
returns bigint
language sql volatile security definer set search_path = pg_catalog, pg_temp
as $$
    with old as (
        select k.scope, k.key
        from core.idempotency_keys as k
        where k.created_at < core.clock() - interval '48 hours'
        order by k.created_at
        limit 1000
        for update skip locked
    ),
    cleared as (
        delete from core.idempotency_keys as k
        using old as o
        where k.scope = o.scope and k.key = o.key
        returning 1
    )
    select count(*) from cleared
$$;
grant execute on function core.idempotency_clear to exchequer_app;
