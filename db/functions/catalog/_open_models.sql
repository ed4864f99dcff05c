-- catalog._answering: the model that answers for one that is asked for; null if none does.
create or replace function catalog._answering(p_project_id uuid, p_model_key text)
returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_key text := p_model_key;
    v_model catalog.models;
begin
    -- A chain of replacements leads nowhere twice: whoever edits it is refused a circle.
    while v_key is not null loop
        select m.* into v_model
        from catalog.models as m
        where m.project_id = p_project_id and m.key = v_key;
        exit when not found;
        if v_model.is_available
            and (v_model.credits_per_1k_tokens is not null or exists (
                select
                from catalog.model_prices as p
                where p.project_id = p_project_id and p.model_key = v_key
            ))
        then
            return v_key;
        end if;
        v_key := v_model.replacement_key;
    end loop;
    return null;
end
$$;

-- catalog._open_levels: the levels at which a plan's feature may answer.
create or replace function catalog._open_levels(p_opened catalog.plan_features)
returns table (quality_key text, name text, rank int, multiplier_basis_points int)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select q.key, q.name, q.rank, q.multiplier_basis_points
    from catalog.plan_quality_levels as l
    join catalog.quality_levels as q
        on q.project_id = l.project_id and q.key = l.quality_key
    where l.project_id = p_opened.project_id
        and l.plan_key = p_opened.plan_key
        and l.version = p_opened.version
        and l.feature_key = p_opened.feature_key
        and q.is_active
    order by q.rank, q.key
$$;

-- catalog._open_models: the models that may answer a plan's feature, at a level or at any.
--
-- `asked_key` is what is asked for, `model_key` what answers: another where its maker no longer
-- serves it. What cannot answer, or cannot be charged for, is not there. A feature that is open
-- to any model has those beside the ones of its levels.
create or replace function catalog._open_models(
    p_opened catalog.plan_features, p_quality text default null, p_asked text default null
)
returns table (
    asked_key text, model_key text, priority int,
    quality_key text, quality_rank int, multiplier_basis_points int
)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with named as (
        select
            m.model_key, m.priority,
            l.quality_key, l.rank as quality_rank, l.multiplier_basis_points
        from catalog._open_levels(p_opened) as l
        join catalog.plan_models as m
            on m.project_id = p_opened.project_id
                and m.plan_key = p_opened.plan_key
                and m.version = p_opened.version
                and m.feature_key = p_opened.feature_key
                and m.quality_key = l.quality_key
        where (p_quality is null or l.quality_key = p_quality)
            and (p_asked is null or m.model_key = p_asked)
        union all
        select m.key, m.rank, null, 2147483647, null
        from catalog.models as m
        where p_opened.any_model and p_quality is null and m.project_id = p_opened.project_id
            and (p_asked is null or m.key = p_asked)
    )
    select
        n.model_key, a.answers, n.priority, n.quality_key, n.quality_rank,
        n.multiplier_basis_points
    from named as n
    cross join lateral catalog._answering(p_opened.project_id, n.model_key) as a (answers)
    where a.answers is not null
$$;
