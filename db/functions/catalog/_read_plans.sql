-- catalog._read_plans and its like: the parts of a project's catalog, each as a document.

create or replace function catalog._read_features(p_project_id uuid)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'key', f.key, 'kind', f.kind, 'name', f.name, 'description', f.description,
        'category', f.category, 'icon', f.icon, 'is_active', f.is_active,
        'base_estimate', f.base_estimate) order by f.key), '[]')
    from catalog.features as f
    where f.project_id = p_project_id
$$;

create or replace function catalog._read_quality_levels(p_project_id uuid)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'key', q.key, 'name', q.name, 'rank', q.rank,
        'multiplier_basis_points', q.multiplier_basis_points,
        'is_active', q.is_active) order by q.rank, q.key), '[]')
    from catalog.quality_levels as q
    where q.project_id = p_project_id
$$;

create or replace function catalog._read_models(p_project_id uuid)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'key', m.key, 'provider', m.provider, 'provider_model_id', m.provider_model_id,
        'name', m.name, 'tier', m.tier, 'capabilities', m.capabilities,
        'context_length', m.context_length, 'max_output_tokens', m.max_output_tokens,
        'credits_per_1k_tokens', m.credits_per_1k_tokens, 'is_available', m.is_available,
        'deprecated_at', m.deprecated_at, 'replacement_key', m.replacement_key,
        'rank', m.rank,
        'price_version', p.version, 'input_nanodollars', p.input_nanodollars,
        'cached_input_nanodollars', p.cached_input_nanodollars,
        'output_nanodollars', p.output_nanodollars) order by m.rank, m.key), '[]')
    from catalog.models as m
    left join lateral (
        select p.*
        from catalog.model_prices as p
        where p.project_id = m.project_id and p.model_key = m.key
        order by p.version desc
        limit 1
    ) as p on true
    where m.project_id = p_project_id
$$;

-- The features of a version of a plan: its own, and those of what it includes which it does
-- not say otherwise. Who includes is newer than what is included, so this ends.
create or replace function catalog._plan_features(
    p_project_id uuid, p_plan_key text, p_version int
)
returns table (feature_key text, content jsonb)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with recursive parts as (
        select v.plan_key, v.version, v.includes_plan_key, v.includes_version, 0 as depth
        from catalog.plan_versions as v
        where v.project_id = p_project_id
            and v.plan_key = p_plan_key
            and v.version = p_version
        union all
        select v.plan_key, v.version, v.includes_plan_key, v.includes_version, p.depth + 1
        from parts as p
        join catalog.plan_versions as v
            on v.project_id = p_project_id
                and v.plan_key = p.includes_plan_key
                and v.version = p.includes_version
    )
    select distinct on (f.feature_key) f.feature_key, jsonb_build_object(
        'feature', f.feature_key, 'is_enabled', f.is_enabled, 'any_model', f.any_model,
        'limit_value', f.limit_value, 'per_minute', f.per_minute, 'per_hour', f.per_hour,
        'per_day', f.per_day, 'per_customer_day', f.per_customer_day,
        'levels', (
            select coalesce(jsonb_agg(jsonb_build_object(
                'quality', l.quality_key,
                'models', (
                    select coalesce(jsonb_agg(m.model_key order by m.priority), '[]')
                    from catalog.plan_models as m
                    where m.project_id = l.project_id
                        and m.plan_key = l.plan_key
                        and m.version = l.version
                        and m.feature_key = l.feature_key
                        and m.quality_key = l.quality_key
                )) order by q.rank, l.quality_key), '[]')
            from catalog.plan_quality_levels as l
            join catalog.quality_levels as q
                on q.project_id = l.project_id and q.key = l.quality_key
            where l.project_id = p_project_id
                and l.plan_key = f.plan_key
                and l.version = f.version
                and l.feature_key = f.feature_key
        ))
    from parts as p
    join catalog.plan_features as f
        on f.project_id = p_project_id and f.plan_key = p.plan_key and f.version = p.version
    order by f.feature_key, p.depth
$$;

create or replace function catalog._read_plans(p_project_id uuid)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'key', p.key, 'kind', p.kind, 'name', p.name, 'description', p.description,
        'rank', p.rank, 'version', v.version, 'archived_at', p.archived_at,
        'monthly_credits', v.monthly_credits, 'welcome_credits', v.welcome_credits,
        'rollover_cap', v.rollover_cap, 'requests_per_minute', v.requests_per_minute,
        'tokens_per_minute', v.tokens_per_minute, 'credits_per_day', v.credits_per_day,
        'includes_plan_key', v.includes_plan_key, 'streams_stop', v.streams_stop,
        'features', (
            select coalesce(jsonb_agg(f.content order by f.feature_key), '[]')
            from catalog._plan_features(p_project_id, p.key, v.version) as f
        )) order by p.rank, p.key), '[]')
    from catalog.plans as p
    join catalog.plan_versions as v
        on v.project_id = p.project_id
            and v.plan_key = p.key
            and v.version = catalog._current_version(p_project_id, p.key)
    where p.project_id = p_project_id
$$;
