-- catalog._open: a project's catalog, empty at first.
--
-- locks     nothing that exists
-- refuses   nothing
-- replays   a catalog that is there stays as it is
-- ends in   catalog.upsert_feature, catalog.upsert_model, catalog.upsert_plan
create or replace function catalog._open(p_project_id uuid)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    insert into catalog.settings (project_id, changed_at)
    values (p_project_id, core.clock())
    on conflict (project_id) do nothing;
end
$$;
