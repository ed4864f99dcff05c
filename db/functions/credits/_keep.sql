-- credits._keep: how much of a live grant open reservations hold now.
--
-- They hold the first credits of the line: what is left of lapsed grants, then the live
-- ones in draw-down order. Of this grant they hold what the grants before it do not cover.
create or replace function credits._keep(p_grant credits.grants)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select greatest(0, least(
        p_grant.remaining,
        credits._held(p_grant.account_id, 'infinity') - coalesce(sum(g.remaining), 0)
    ))::bigint
    from credits.grants as g
    where g.account_id = p_grant.account_id
        and g.state in ('live', 'lapsed')
        and g.id <> p_grant.id
        and (
            g.state = 'lapsed'
            or (g.priority, coalesce(g.expires_at, 'infinity'), g.category = 'paid',
                g.created_at, g.id)
            < (p_grant.priority, coalesce(p_grant.expires_at, 'infinity'),
                p_grant.category = 'paid', p_grant.created_at, p_grant.id)
        )
$$;
