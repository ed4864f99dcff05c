-- catalog.read: the whole catalog of a project, as of one moment.
--
-- As one document, for processes that keep it under its version. Plans stand in it as they
-- are sold now; what a plan includes of another stands in it as if it were its own.
--
-- locks     nothing
-- refuses   nothing; a project that does not exist has no row
-- replays   reads
-- ends in   itself
create or replace function catalog.read(p_project_id uuid)
returns table (
    catalog_version bigint, default_plan_key text,
    features jsonb, quality_levels jsonb, models jsonb, plans jsonb
)
language sql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
    select s.catalog_version, s.default_plan_key,
        catalog._read_features(p_project_id),
        catalog._read_quality_levels(p_project_id),
        catalog._read_models(p_project_id),
        catalog._read_plans(p_project_id)
    from catalog.settings as s
    where s.project_id = p_project_id
$$;
grant execute on function catalog.read to exchequer_app;
