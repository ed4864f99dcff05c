-- inference.read_limits: the limits of all AI features that an organization's plan opens.
--
-- With what is used of them; limits of an end customer only where one is named.
--
-- locks     nothing
-- refuses   NFOUN
-- replays   reads
-- ends in   inference.open
create or replace function inference.read_limits(
    p_organization_id uuid, p_end_customer_ref text default null, p_related_id text default null
)
returns table (feature text, name text, reason text, limits jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_plan catalog.held_plan := catalog._plan_of(p_organization_id);
    v_feature record;
    v_access inference.access;
    v_now timestamptz := core.clock();
begin
    for v_feature in
        select f.key, f.name
        from catalog.features as f
        where f.project_id = v_plan.project_id and f.kind = 'ai'
        order by f.key
    loop
        v_access := inference._access(v_plan, v_feature.key, null, null);
        continue when (v_access.opened).feature_key is null;
        return query select
            v_feature.key, v_feature.name, v_access.reason,
            inference._told_limits(
                p_organization_id, v_access, p_end_customer_ref, p_related_id, v_now);
    end loop;
end
$$;
grant execute on function inference.read_limits to exchequer_app;
