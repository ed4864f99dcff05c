-- catalog._plan_of: the version of a plan that an organization has, or the default as sold now.
create or replace function catalog._plan_of(p_organization_id uuid)
returns catalog.held_plan
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_held catalog.held_plan;
begin
    select h.project_id, h.plan_key, h.version, h.is_active
    into v_held.project_id, v_held.plan_key, v_held.version, v_held.is_active
    from catalog.organization_plans as h
    where h.organization_id = p_organization_id;
    if found then
        return v_held;
    end if;
    select o.project_id, s.default_plan_key, true
    into v_held.project_id, v_held.plan_key, v_held.is_active
    from identity.organizations as o
    left join catalog.settings as s on s.project_id = o.project_id
    where o.id = p_organization_id;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object(
            'kind', 'organization', 'id', p_organization_id));
    elsif v_held.plan_key is not null then
        v_held.version := catalog._current_version(v_held.project_id, v_held.plan_key);
    end if;
    return v_held;
end
$$;
