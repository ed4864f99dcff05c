-- catalog._plan_feature: a feature as a version of a plan opens it; nulls if it does not.
--
-- Its own word, or else that of what it includes. Who includes is newer than what is included,
-- so this ends.
create or replace function catalog._plan_feature(
    p_project_id uuid, p_plan_key text, p_version int, p_feature_key text
)
returns catalog.plan_features
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_opened catalog.plan_features;
    v_plan_key text := p_plan_key;
    v_version int := p_version;
begin
    while v_plan_key is not null loop
        select f.* into v_opened
        from catalog.plan_features as f
        where f.project_id = p_project_id
            and f.plan_key = v_plan_key
            and f.version = v_version
            and f.feature_key = p_feature_key;
        exit when found;
        select v.includes_plan_key, v.includes_version into v_plan_key, v_version
        from catalog.plan_versions as v
        where v.project_id = p_project_id
            and v.plan_key = v_plan_key
            and v.version = v_version;
    end loop;
    return v_opened;
end
$$;
