-- catalog._add_version: what a plan is from now on.
create or replace function catalog._add_version(
    p_project_id uuid,
    p_version int,
    p_terms catalog.plan_terms,
    p_includes int,
    p_features catalog.plan_feature_terms[],
    p_levels catalog.plan_level_terms[]
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    insert into catalog.plan_versions (
        project_id, plan_key, version, monthly_credits, welcome_credits, rollover_cap,
        requests_per_minute, tokens_per_minute, credits_per_day,
        includes_plan_key, includes_version, streams_stop, created_at
    ) values (
        p_project_id, p_terms.key, p_version, p_terms.monthly_credits,
        coalesce(p_terms.welcome_credits, 0), coalesce(p_terms.rollover_cap, 0),
        p_terms.requests_per_minute, p_terms.tokens_per_minute, p_terms.credits_per_day,
        p_terms.includes_plan_key, p_includes, coalesce(p_terms.streams_stop, true),
        core.clock()
    );
    insert into catalog.plan_features (
        project_id, plan_key, version, feature_key, is_enabled, any_model, limit_value,
        per_minute, per_hour, per_day, per_customer_day
    )
    select p_project_id, p_terms.key, p_version, f.feature_key, coalesce(f.is_enabled, true),
        coalesce(f.any_model, false), f.limit_value, f.per_minute, f.per_hour, f.per_day,
        f.per_customer_day
    from unnest(p_features) as f;
    insert into catalog.plan_quality_levels (
        project_id, plan_key, version, feature_key, quality_key
    )
    select p_project_id, p_terms.key, p_version, l.feature_key, l.quality_key
    from unnest(p_levels) as l;
    -- In the order in which they are named; the first is asked unless another is wished for.
    insert into catalog.plan_models (
        project_id, plan_key, version, feature_key, quality_key, model_key, priority, is_default
    )
    select p_project_id, p_terms.key, p_version, l.feature_key, l.quality_key, m.key,
        m.place - 1, m.place = 1
    from unnest(p_levels) as l
    cross join lateral unnest(l.model_keys) with ordinality as m (key, place);
end
$$;

-- The version that is sold now: the last. Null: no such plan.
create or replace function catalog._current_version(p_project_id uuid, p_plan_key text)
returns int
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select max(v.version)
    from catalog.plan_versions as v
    where v.project_id = p_project_id and v.plan_key = p_plan_key
$$;

-- What is in a version, to be compared with what is asked for.
create or replace function catalog._content(p_project_id uuid, p_plan_key text, p_version int)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_array(
        v.monthly_credits, v.welcome_credits, v.rollover_cap, v.requests_per_minute,
        v.tokens_per_minute, v.credits_per_day, v.includes_plan_key, v.includes_version,
        v.streams_stop,
        (
            select jsonb_object_agg(f.feature_key, jsonb_build_array(
                f.is_enabled, f.any_model, f.limit_value, f.per_minute, f.per_hour, f.per_day,
                f.per_customer_day))
            from catalog.plan_features as f
            where f.project_id = v.project_id
                and f.plan_key = v.plan_key
                and f.version = v.version
        ),
        (
            select jsonb_object_agg(l.feature_key || ' ' || l.quality_key, (
                select jsonb_agg(m.model_key order by m.priority)
                from catalog.plan_models as m
                where m.project_id = l.project_id
                    and m.plan_key = l.plan_key
                    and m.version = l.version
                    and m.feature_key = l.feature_key
                    and m.quality_key = l.quality_key
            ))
            from catalog.plan_quality_levels as l
            where l.project_id = v.project_id
                and l.plan_key = v.plan_key
                and l.version = v.version
        )
    )
    from catalog.plan_versions as v
    where v.project_id = p_project_id and v.plan_key = p_plan_key and v.version = p_version
$$;

create or replace function catalog._content_of(
    p_terms catalog.plan_terms,
    p_includes int,
    p_features catalog.plan_feature_terms[],
    p_levels catalog.plan_level_terms[]
)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_array(
        p_terms.monthly_credits, coalesce(p_terms.welcome_credits, 0),
        coalesce(p_terms.rollover_cap, 0), p_terms.requests_per_minute,
        p_terms.tokens_per_minute, p_terms.credits_per_day, p_terms.includes_plan_key,
        p_includes, coalesce(p_terms.streams_stop, true),
        (
            select jsonb_object_agg(f.feature_key, jsonb_build_array(
                coalesce(f.is_enabled, true), coalesce(f.any_model, false), f.limit_value,
                f.per_minute, f.per_hour, f.per_day, f.per_customer_day))
            from unnest(p_features) as f
        ),
        (
            select jsonb_object_agg(
                l.feature_key || ' ' || l.quality_key, to_jsonb(l.model_keys))
            from unnest(p_levels) as l
        )
    )
$$;
