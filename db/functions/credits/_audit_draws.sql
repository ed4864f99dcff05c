-- credits._audit_draws: what ledger rows drew from which grant, and when.
create or replace function credits._audit_draws(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- A grant has left what was not drawn from it; one that was canceled has nothing left.
    -- What expired or was taken out or back was not used. (Where a void made debt, the debt's
    -- row is the later of the two, and what it drew paid for what was used.)
    return query
    with drawn as (
        select t.account_id, d.grant_id, sum(d.amount) as amount, min(t.version) as first,
            sum(d.amount) filter (where t.amount < 0
                and (t.type in ('expiration', 'plan_change', 'admin_adjustment')
                    or v.grant_id is not null)) as forfeited
        from credits._audit_read_ledger(p_marks) as t
        cross join lateral unnest(t.drawn_grant_ids, t.drawn_amounts) as d (grant_id, amount)
        left join credits.grant_voids as v
            on t.type = 'void' and v.account_id = t.account_id and v.grant_id = t.grant_id
                and v.taken > 0 and t.version = v.version::numeric - (v.overage_added > 0)::int
        group by t.account_id, d.grant_id
    ),
    marked as (
        select m.account_id, w.id, w.remaining, w.forfeited
        from unnest(p_marks) as m
        cross join lateral unnest(m.grant_ids, m.grants_remaining, m.grants_forfeited)
            as w (id, remaining, forfeited)
    ),
    given as (
        select g.account_id, g.id, g.remaining, g.forfeited,
            case
                when g.version is null and g.state = 'closed' then 0
                when w.id is not null then w.remaining
                when g.version <= m.version then 0
                else g.amount
            end as amount,
            -- What left a grant that was closed at the mark is not looked at again.
            case when w.id is null and g.version <= m.version then g.forfeited
                else coalesce(w.forfeited, 0) end as forfeited_before
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        left join marked as w on w.account_id = g.account_id and w.id = g.id
    )
    select
        coalesce(g.account_id, d.account_id), f.invariant,
        case when g.id is null then 'transaction ' || d.first else 'grant ' || g.id end,
        case when g.id is null then format('a grant %s', d.grant_id) else f.expected end,
        case when g.id is null then 'none' else f.actual end
    from given as g
    full join drawn as d on d.account_id = g.account_id and d.grant_id = g.id
    cross join lateral (values
        (
            'remaining', g.remaining = g.amount - coalesce(d.amount, 0),
            (g.amount - coalesce(d.amount, 0))::text, g.remaining::text
        ),
        (
            'forfeited',
            g.id is null or g.forfeited = g.forfeited_before + coalesce(d.forfeited, 0),
            (g.forfeited_before + coalesce(d.forfeited, 0))::text, g.forfeited::text
        )
    ) as f (invariant, holds, expected, actual)
    where f.holds is not true
    union all
    select w.account_id, 'remaining', 'grant ' || w.id, w.remaining::text, 'none'
    from marked as w
    where not exists (
        select from given as g where g.account_id = w.account_id and g.id = w.id
    );

    -- Drawn after it took effect; not after its end, but for a reservation opened before;
    -- and it expires no earlier than it should, nor later unless it had lapsed.
    return query
    with drawn as (
        select t.account_id, t.version, t.type, t.created_at, t.reservation_id,
            d.grant_id, d.amount, g.version as given_version, g.effective_at, g.expires_at
        from credits._audit_read_ledger(p_marks) as t
        cross join lateral unnest(t.drawn_grant_ids, t.drawn_amounts) as d (grant_id, amount)
        join credits.grants as g on g.account_id = t.account_id and g.id = d.grant_id
        where (
                d.amount > 0
                and t.version >= g.version
                and t.created_at >= g.effective_at
                and case
                    when t.operation = 'expire_grant' then t.created_at = g.expires_at
                    when t.type = 'expiration' then t.created_at >= g.expires_at
                    else coalesce(t.created_at < g.expires_at, true)
                end
            ) is not true
    )
    select d.account_id, 'draw_time', 'transaction ' || d.version,
        format('from grant %s since version %s, from %s until %s', d.grant_id,
            d.given_version, d.effective_at, d.expires_at),
        format('%s of %s at %s%s', d.type, d.amount, d.created_at,
            ', reserved at ' || r.opened_at)
    from drawn as d
    left join lateral (
        select r.opened_at
        from credits.reservations as r
        where r.account_id = d.account_id and r.id = d.reservation_id
        -- Row by row: see credits._audit_read_ledger.
        offset 0
    ) as r on true
    where (
            d.amount > 0
            and d.version >= d.given_version
            and d.created_at >= d.effective_at
            and d.type = 'consumption'
            and r.opened_at < d.expires_at
        ) is not true;
end
$$;
