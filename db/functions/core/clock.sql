-- core.clock: the time by which credits are decided.
--
-- The database's own clock, read when called: never the start of the
-- transaction, which may have waited for a lock. Tests replace this function in
-- their own databases to move time; nothing else may.
create or replace function core.clock()
returns timestamptz
language sql volatile parallel safe
as $$ select pg_catalog.clock_timestamp() $$;
grant execute on function core.clock to exchequer_app;
