-- inference._told_levels and its like: what is open to an organization, as documents.

create or replace function inference._told_levels(p_opened catalog.plan_features)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'quality', l.quality_key,
        'name', l.name,
        'models', array(
            select m.model_key
            from catalog._open_models(p_opened, l.quality_key) as m
            group by m.model_key
            order by min(m.priority)
        )) order by l.rank, l.quality_key), '[]')
    from catalog._open_levels(p_opened) as l
$$;

-- Used: calls that began within the window and were not given back. Whoever has reached a limit
-- is told when the next call may begin; nobody waits for a limit of none.
create or replace function inference._told_limits(
    p_account_id uuid, p_access inference.access, p_end_customer_ref text, p_related_id text,
    p_now timestamptz
)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object(
        'name', l.name,
        'most', l.most,
        'used', u.used,
        'left', greatest(0, l.most - u.used),
        'window_seconds', extract(epoch from l.span)::int,
        'resets_at', case when u.used >= l.most then u.first_at + l.span end) order by l.place), '[]')
    from inference._limits(p_access) with ordinality as l (name, most, span, place)
    cross join lateral (
        select count(*)::int as used, min(c.opened_at) as first_at
        from (
            select c.opened_at
            from inference.calls as c
            where c.account_id = p_account_id
                and (l.name = 'requests_per_minute' or c.feature = p_access.feature)
                and (l.name <> 'per_customer_day' or (
                    c.end_customer_ref = p_end_customer_ref
                    and c.related_id is not distinct from p_related_id))
                and c.opened_at > p_now - l.span
                and c.state <> 'released'
            order by c.opened_at desc
            limit l.most
        ) as c
    ) as u
    where l.most is not null and (l.name <> 'per_customer_day' or p_end_customer_ref is not null)
$$;

-- Plans that are sold and would open what is closed, the lowest first: other than one's own.
create or replace function inference._opening_plans(
    p_access inference.access, p_quality text, p_model text
)
returns text[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select array(
        select p.key
        from catalog.plans as p
        cross join lateral catalog._plan_feature(
            p.project_id, p.key, catalog._current_version(p.project_id, p.key), p_access.feature
        ) as opened
        where p.project_id = p_access.project_id
            and p.archived_at is null
            and p.kind = 'recurring'
            and p.key is distinct from p_access.plan_key
            -- Of lower plans none helps who has one.
            and p.rank >= coalesce((
                select o.rank
                from catalog.plans as o
                where o.project_id = p_access.project_id and o.key = p_access.plan_key
            ), p.rank)
            and opened.is_enabled
            and exists (
                select from catalog._open_models(opened, p_quality, p_model)
            )
        order by p.rank, p.key
    )
$$;
