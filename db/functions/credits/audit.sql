-- credits.audit: placeholder
create or replace function credits.audit(p_account_id uuid default null)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select null::uuid, null, null, null, null where false $$;
grant execute on function credits.audit to exchequer_app;
