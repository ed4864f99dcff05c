-- catalog._check_plan: what can be told of a plan's terms without looking at the catalog.
create or replace function catalog._check_plan(
    p_terms catalog.plan_terms,
    p_features catalog.plan_feature_terms[],
    p_levels catalog.plan_level_terms[]
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    c_most_features constant int := 200;
    c_most_levels constant int := 1000;
    c_most_models constant int := 50;
    v_wrong record;
begin
    perform catalog._check_key(p_terms.key);
    if p_terms.kind is null or p_terms.kind not in ('recurring', 'one_time', 'add_on') then
        perform catalog._invalid('kind', 'must be recurring, one_time or add_on');
    end if;
    perform catalog._check_text('name', coalesce(p_terms.name, ''), 200);
    perform catalog._check_text('description', p_terms.description, 2000);
    if p_terms.rank is null then
        perform catalog._invalid('rank', 'must be given');
    end if;
    if p_terms.monthly_credits is null then
        perform catalog._invalid('monthlyCredits', 'must be given');
    end if;
    perform catalog._check_credits('monthlyCredits', p_terms.monthly_credits, -1);
    perform catalog._check_credits('welcomeCredits', p_terms.welcome_credits, 0);
    perform catalog._check_credits('rolloverCap', p_terms.rollover_cap, 0);
    perform catalog._check_credits('creditsPerDay', p_terms.credits_per_day, 0);
    perform catalog._check_limit('requestsPerMinute', p_terms.requests_per_minute);
    perform catalog._check_limit('tokensPerMinute', p_terms.tokens_per_minute);
    if p_terms.includes_plan_key = p_terms.key then
        perform catalog._invalid('includes', 'must be another plan');
    end if;

    if p_features is null or cardinality(p_features) > c_most_features
        or p_levels is null or cardinality(p_levels) > c_most_levels
    then
        perform catalog._invalid('features', format(
            'must be at most %s, with at most %s levels in all', c_most_features,
            c_most_levels));
    end if;
    select f.feature_key, count(*) > 1 as is_twice into v_wrong
    from unnest(p_features) as f
    group by f.feature_key
    having count(*) > 1 or f.feature_key is null
        or least(min(f.limit_value), min(f.per_minute), min(f.per_hour), min(f.per_day),
            min(f.per_customer_day)) < 0
    order by f.feature_key
    limit 1;
    if found then
        perform catalog._invalid('features', case
            when v_wrong.feature_key is null then 'each must name its feature'
            when v_wrong.is_twice then format('%s stands there twice', v_wrong.feature_key)
            else format('the limits of %s must be at least 0', v_wrong.feature_key) end);
    end if;

    select l.feature_key, l.quality_key, l.model_keys,
        count(*) over (partition by l.feature_key, l.quality_key) > 1 as is_twice,
        coalesce(f.any_model, false) as any_model, f.feature_key is null as is_unknown
    into v_wrong
    from unnest(p_levels) as l
    left join unnest(p_features) as f on f.feature_key = l.feature_key
    order by (
        f.feature_key is null
        or coalesce(f.any_model, false)
        or l.quality_key is null
        or count(*) over (partition by l.feature_key, l.quality_key) > 1
        or coalesce(cardinality(l.model_keys), 0) not between 1 and c_most_models
        or cardinality(l.model_keys) <> (
            select count(distinct m.key) from unnest(l.model_keys) as m (key))
    ) desc, l.feature_key, l.quality_key
    limit 1;
    if not found then
        return;
    end if;
    if v_wrong.is_unknown then
        perform catalog._invalid('levels', format(
            'feature %s is not in the plan', coalesce(v_wrong.feature_key, 'null')));
    elsif v_wrong.any_model then
        perform catalog._invalid('levels', format(
            '%s is open to every model and has no levels', v_wrong.feature_key));
    elsif v_wrong.quality_key is null then
        perform catalog._invalid('levels', 'each must name its quality');
    elsif v_wrong.is_twice then
        perform catalog._invalid('levels', format(
            '%s of %s stands there twice', v_wrong.quality_key, v_wrong.feature_key));
    elsif coalesce(cardinality(v_wrong.model_keys), 0) not between 1 and c_most_models then
        perform catalog._invalid('levels', format(
            '%s of %s must have 1 to %s models', v_wrong.quality_key, v_wrong.feature_key,
            c_most_models));
    elsif cardinality(v_wrong.model_keys) <> (
        select count(distinct m.key) from unnest(v_wrong.model_keys) as m (key)
    ) then
        perform catalog._invalid('levels', format(
            '%s of %s must name each model once', v_wrong.quality_key, v_wrong.feature_key));
    end if;
end
$$;

-- What a plan names has to be there; asked under the lock of the catalog.
create or replace function catalog._check_plan_refers(
    p_project_id uuid,
    p_features catalog.plan_feature_terms[],
    p_levels catalog.plan_level_terms[]
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_missing record;
begin
    select n.kind, n.key into v_missing
    from (
        select 'feature' as kind, f.feature_key as key
        from unnest(p_features) as f
        where not exists (
            select from catalog.features as c
            where c.project_id = p_project_id and c.key = f.feature_key
        )
        union all
        select 'quality_level', l.quality_key
        from unnest(p_levels) as l
        where not exists (
            select from catalog.quality_levels as c
            where c.project_id = p_project_id and c.key = l.quality_key
        )
        union all
        select 'model', m.key
        from unnest(p_levels) as l
        cross join lateral unnest(l.model_keys) as m (key)
        where not exists (
            select from catalog.models as c
            where c.project_id = p_project_id and c.key = m.key
        )
    ) as n
    order by n.kind, n.key
    limit 1;
    if found then
        perform core.refuse('NFOUN', jsonb_build_object(
            'kind', v_missing.kind, 'id', v_missing.key));
    end if;
end
$$;
