-- inference._limit_reached: the first limit that an account has reached; null if there is none.
--
-- Calls that are under way count as well as those that were charged; what was given back does
-- not. A window slides: a limit is reached while as many calls began within it, and opens again
-- when the oldest of these leaves it. Only where as many as the limit may have begun are they
-- read, as many as that is and what was given back.
create or replace function inference._limit_reached(
    p_account_id uuid, p_access inference.access, p_end_customer_ref text, p_related_id text,
    p_now timestamptz
)
returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off
as $$
declare
    v_limit record;
    v_began timestamptz;
begin
    for v_limit in
        select l.*
        from inference._begun(p_account_id, p_access, p_now) as l
        where coalesce(l.begun >= l.most, p_end_customer_ref is not null)
    loop
        v_began := null;
        if v_limit.most > 0 then
            if v_limit.name = 'requests_per_minute' then
                select c.opened_at into v_began
                from inference.calls as c
                where c.account_id = p_account_id
                    and c.opened_at > p_now - v_limit.span
                    and c.state <> 'released'
                order by c.opened_at desc
                offset v_limit.most - 1 limit 1;
            elsif v_limit.name = 'per_customer_day' then
                select c.opened_at into v_began
                from inference.calls as c
                where c.account_id = p_account_id
                    and c.feature = p_access.feature
                    and c.end_customer_ref = p_end_customer_ref
                    and c.related_id is not distinct from p_related_id
                    and c.opened_at > p_now - v_limit.span
                    and c.state <> 'released'
                order by c.opened_at desc
                offset v_limit.most - 1 limit 1;
            else
                select c.opened_at into v_began
                from inference.calls as c
                where c.account_id = p_account_id
                    and c.feature = p_access.feature
                    and c.opened_at > p_now - v_limit.span
                    and c.state <> 'released'
                order by c.opened_at desc
                offset v_limit.most - 1 limit 1;
            end if;
            continue when v_began is null;
        end if;
        return jsonb_build_object(
            'limit', v_limit.name,
            'most', v_limit.most,
            'resetsAt', v_began + v_limit.span);
    end loop;
    return null;
end
$$;

-- inference._begun: the limits there are, and how many calls began within each at most.
--
-- By their places, whatever their number: what was given back counts as well. Of one customer's
-- calls it is not known: null.
create or replace function inference._begun(
    p_account_id uuid, p_access inference.access, p_now timestamptz
)
returns table (name text, most int, span interval, begun bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp
set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    return query
        -- Read once, and only where there is a limit.
        with last as materialized (
            select
                inference._last_place(p_account_id) as place,
                inference._last_feature_place(p_account_id, p_access.feature) as feature_place
        )
        select
            l.*,
            case l.name
                when 'per_customer_day' then null
                when 'requests_per_minute' then coalesce((select t.place from last as t) + 1 - (
                    select c.account_place
                    from inference.calls as c
                    where c.account_id = p_account_id and c.opened_at > p_now - l.span
                    order by c.opened_at, c.account_place
                    limit 1
                ), 0)
                else coalesce((select t.feature_place from last as t) + 1 - (
                    select c.feature_place
                    from inference.calls as c
                    where c.account_id = p_account_id and c.feature = p_access.feature
                        and c.opened_at > p_now - l.span
                    order by c.opened_at, c.feature_place
                    limit 1
                ), 0)
            end
        from inference._limits(p_access) as l
        where l.most is not null;
end
$$;

-- inference._limits: how many calls may begin within which time. Null is any number, 0 none.
create or replace function inference._limits(p_access inference.access)
returns table (name text, most int, span interval)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select l.*
    from (values
        ('requests_per_minute', (
            select v.requests_per_minute
            from catalog.plan_versions as v
            where v.project_id = p_access.project_id
                and v.plan_key = p_access.plan_key
                and v.version = p_access.plan_version
        ), interval '1 minute'),
        ('per_minute', ((p_access).opened).per_minute, interval '1 minute'),
        ('per_hour', ((p_access).opened).per_hour, interval '1 hour'),
        ('per_day', ((p_access).opened).per_day, interval '1 day'),
        ('per_customer_day', ((p_access).opened).per_customer_day, interval '1 day')
    ) as l (name, most, span)
$$;

-- inference._last_place: which call of an account was the last; 0 before the first.
create or replace function inference._last_place(p_account_id uuid)
returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((
        select c.account_place
        from inference.calls as c
        where c.account_id = p_account_id
        order by c.opened_at desc, c.account_place desc
        limit 1
    ), 0);
end
$$;

-- inference._last_feature_place: the same of a feature.
create or replace function inference._last_feature_place(p_account_id uuid, p_feature text)
returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    return coalesce((
        select c.feature_place
        from inference.calls as c
        where c.account_id = p_account_id and c.feature = p_feature
        order by c.opened_at desc, c.feature_place desc
        limit 1
    ), 0);
end
$$;
