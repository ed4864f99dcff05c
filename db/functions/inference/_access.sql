-- inference._access: which model answers a call under a plan, or why none does.
--
-- Everything but limits and credits, in the order in which it is told: the feature is known,
-- active, in a plan that is active, enabled there, open at that quality, open to that model.
-- What is not named is chosen: the lowest level that has the model, the first model of a level.
create or replace function inference._access(
    p_plan catalog.held_plan, p_feature text, p_quality text, p_model text
)
returns inference.access
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_access inference.access;
    v_feature catalog.features;
    v_opened catalog.plan_features;
    v_at record;
begin
    v_access.project_id := p_plan.project_id;
    v_access.plan_key := p_plan.plan_key;
    v_access.plan_version := p_plan.version;
    v_access.feature := p_feature;

    select f.* into v_feature
    from catalog.features as f
    where f.project_id = p_plan.project_id and f.key = p_feature and f.kind = 'ai';
    if not found then
        v_access.reason := 'feature_not_found';
        return v_access;
    elsif not v_feature.is_active then
        v_access.reason := 'feature_disabled';
        return v_access;
    elsif p_plan.plan_key is null or not p_plan.is_active then
        v_access.reason := 'plan_not_active';
        return v_access;
    end if;
    v_access.base_estimate := v_feature.base_estimate;

    v_opened := catalog._plan_feature(
        p_plan.project_id, p_plan.plan_key, p_plan.version, p_feature);
    if v_opened.feature_key is null then
        v_access.reason := 'not_in_plan';
        return v_access;
    elsif not v_opened.is_enabled then
        v_access.reason := 'plan_feature_disabled';
        return v_access;
    end if;
    v_access.opened := v_opened;

    -- A level is open if it is active itself. Where a plan names no levels, there is none to name.
    if p_quality is not null and not exists (
        select
        from catalog._open_levels(v_opened) as l
        where l.quality_key = p_quality
    ) then
        v_access.reason := 'quality_not_allowed';
        return v_access;
    end if;

    select m.quality_key, m.multiplier_basis_points, m.model_key into v_at
    from catalog._open_models(v_opened, p_quality, p_model) as m
    order by m.quality_rank, m.priority
    limit 1;
    if not found then
        v_access.reason := 'model_not_allowed';
        return v_access;
    end if;
    v_access.quality := v_at.quality_key;
    v_access.multiplier_basis_points := coalesce(v_at.multiplier_basis_points, 10000);
    v_access.model := v_at.model_key;
    if v_at.quality_key is not null then
        -- The others of the level stand in for it, in their order.
        v_access.fallbacks := array(
            select m.model_key
            from catalog._open_models(v_opened, v_at.quality_key) as m
            where m.model_key <> v_at.model_key
            group by m.model_key
            order by min(m.priority)
        );
    else
        v_access.fallbacks := array[]::text[];
    end if;
    return v_access;
end
$$;
