-- credits._keep: how much of a grant open reservations hold.
--
-- Reservations opened before an instant hold the first credits of the line: what is
-- left of lapsed grants, then the live ones in draw-down order. Of this grant they
-- hold what the grants before it do not cover.
create or replace function credits._keep(p_grant credits.grants, p_before timestamptz)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select greatest(0, least(p_grant.remaining, h.held - e.ahead))
    from (
        select coalesce(sum(r.amount), 0)::bigint as held
        from credits.reservations as r
        where r.account_id = p_grant.account_id
            and r.status = 'pending'
            and r.opened_at < p_before
    ) as h
    cross join (
        select coalesce(sum(g.remaining), 0)::bigint as ahead
        from credits.grants as g
        where g.account_id = p_grant.account_id
            and g.state in ('live', 'lapsed')
            and g.id <> p_grant.id
            and case
                when p_grant.state = 'lapsed' then
                    g.state = 'lapsed'
                    and (g.expires_at, g.priority, g.category = 'paid', g.created_at, g.id)
                    < (p_grant.expires_at, p_grant.priority, p_grant.category = 'paid',
                        p_grant.created_at, p_grant.id)
                else
                    g.state = 'lapsed'
                    or (g.priority, coalesce(g.expires_at, 'infinity'), g.category = 'paid',
                        g.created_at, g.id)
                    < (p_grant.priority, coalesce(p_grant.expires_at, 'infinity'),
                        p_grant.category = 'paid', p_grant.created_at, p_grant.id)
            end
    ) as e
$$;
