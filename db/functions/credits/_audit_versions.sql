-- credits._audit_versions: everything that ever changed an account, in the order of versions.
--
-- Each version from 1 to the account's belongs to exactly one row. Replayed in that order,
-- the openings, extensions and closings of reservations give what was reserved at each
-- version, and the ledger what the account had in all: with both, what each ledger row
-- says was reserved is proven, and that no credit was reserved or deducted which could
-- not be spent at that moment. Time never runs backwards along the versions.
create or replace function credits._audit_versions(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with held as materialized (
        select r.account_id, r.id, r.opened_version, r.opened_at, r.requested_amount,
            r.closed_version, r.closed_at, r.amount, r.settled_version, r.settled_amount
        from credits._audit_read_reservations(p_marks) as r
    ),
    raised as (
        select e.account_id, e.version, e.created_at, e.amount,
            coalesce(
                lag(e.amount) over (
                    partition by e.account_id, e.reservation_id order by e.version),
                r.requested_amount) as amount_last
        from credits._audit_read_extensions(p_marks) as e
        left join held as r
            on r.account_id = e.account_id and r.id = e.reservation_id
    ),
    events as (
        -- `claims`: whether the version is this row's own. `reserves`: what it adds to
        -- what is reserved. `spends`: whether it needed credits that could be spent.
        select
            t.account_id, t.version, 'transaction' as kind, null::uuid as id, true as claims,
            t.created_at as at, null::bigint as reserves, t.amount::bigint as amount,
            t.reserved_after::bigint as reserved_after,
            t.operation = 'deduct' as spends
        from credits._audit_read_ledger(p_marks) as t
        union all
        -- What everything up to the mark came to.
        select m.account_id, m.version, 'mark', null, true, m.clock_at, m.reserved,
            m.available + m.reserved - m.overage, null, false
        from unnest(p_marks) as m
        where m.marked_at is not null
        union all
        select r.account_id, r.opened_version, 'reservation', r.id, true, r.opened_at,
            r.requested_amount, null, null, true
        from unnest(p_marks) as m
        join held as r on r.account_id = m.account_id and r.opened_version > m.version
        union all
        -- A settle closes its reservation under the version of its ledger row.
        select r.account_id, r.closed_version, 'reservation', r.id,
            r.settled_version is distinct from r.closed_version
                or r.settled_amount is not distinct from 0,
            r.closed_at, -r.amount, null, null, false
        from unnest(p_marks) as m
        join held as r on r.account_id = m.account_id and r.closed_version > m.version
        union all
        -- A late settle of nothing has a version and no ledger row.
        select r.account_id, r.settled_version, 'reservation', r.id, true, null, null, null,
            null, false
        from unnest(p_marks) as m
        join held as r on r.account_id = m.account_id and r.settled_version > m.version
        where r.settled_version <> r.closed_version and r.settled_amount = 0
        union all
        select x.account_id, x.version, 'extension', null, true, x.created_at, x.amount,
            null, null, x.amount > x.amount_last
        from unnest(p_marks) as m
        join raised as x on x.account_id = m.account_id and x.version > m.version
        union all
        select x.account_id, x.version, 'extension', null, false, x.created_at, -x.amount_last,
            null, null, false
        from unnest(p_marks) as m
        join raised as x on x.account_id = m.account_id and x.version > m.version
        union all
        select c.account_id, c.version, 'change', null, true,
            -- The first period begins a moment before its account is locked.
            case c.operation when 'open_account' then a.created_at else c.created_at end,
            null, null, null, false
        from unnest(p_marks) as m
        join credits.account_changes as c
            on c.account_id = m.account_id and c.version > m.version
        left join credits.accounts as a on a.account_id = c.account_id
        union all
        -- Not before the mark: that an account went back is said elsewhere.
        select a.account_id,
            least(greatest(a.version, m.version), 9223372036854775806) + 1, 'end', null, true,
            a.clock_at, null, null, null, false
        from unnest(p_marks) as m
        join credits.accounts as a on a.account_id = m.account_id
    ),
    line as materialized (
        -- Sums and steps are numeric: what was tampered with must not overflow them.
        select
            e.*,
            lag(e.version::numeric, 1, 0::numeric) over place as version_last,
            lag(e.at) over place as at_last,
            coalesce(sum(e.reserves) over replay, 0) as reserved,
            coalesce(sum(e.amount) over replay, 0) as net
        from events as e
        window
            replay as (partition by e.account_id order by e.version),
            place as (partition by e.account_id order by e.version, e.claims desc, e.kind, e.id)
    ),
    drift as (
        select
            l.account_id, l.version, l.reserved_after, l.reserved,
            l.reserved_after - l.reserved as off,
            lag(l.reserved_after - l.reserved, 1, 0::numeric) over (
                partition by l.account_id order by l.version) as off_last
        from line as l
        where l.kind = 'transaction'
    ),
    spent as (
        select
            l.account_id, l.version, l.kind, l.id, l.reserved - l.net as overage,
            coalesce((
                select case when jsonb_typeof(c.after -> 'overdraftLimit') = 'number'
                    then (c.after ->> 'overdraftLimit')::numeric end
                from credits.account_changes as c
                where c.account_id = l.account_id
                    and c.version < l.version
                    and c.operation not in ('roll_period', 'cancel_grant')
                order by c.version desc
                limit 1
            ), 0) as overdraft_limit
        from line as l
        where l.spends and l.reserved > l.net
    )
    select l.account_id, f.invariant, f.subject, f.expected, f.actual
    from line as l
    cross join lateral (
        select case l.kind when 'end' then 'account'
            when 'reservation' then 'reservation ' || l.id
            else l.kind || ' ' || l.version end as subject
    ) as s
    cross join lateral (values
        (
            'version', l.version <= l.version_last + 1,
            case when l.version = l.version_last + 2 then 'version ' || l.version_last + 1
                else format('versions %s to %s', l.version_last + 1, l.version - 1) end,
            'one row for each', 'none'
        ),
        (
            'version', not l.claims or l.version > l.version_last,
            s.subject,
            case l.kind when 'end' then format('at least %s', l.version_last)
                else 'a version of its own, from 1 up' end,
            case l.kind when 'end' then l.version - 1 else l.version end::text
        ),
        (
            'time', coalesce(l.at >= l.at_last, true),
            s.subject, format('not before %s', l.at_last), l.at::text
        )
    ) as f (invariant, holds, subject, expected, actual)
    where (
            l.version > l.version_last + 1
            or (l.claims and l.version <= l.version_last)
            or l.at < l.at_last
        )
        and l.kind <> 'mark'
        and not f.holds
    union all
    select d.account_id, 'reserved_after', 'transaction ' || d.version,
        (d.reserved + d.off_last)::text, d.reserved_after::text
    from drift as d
    where d.off <> d.off_last
    union all
    select s.account_id, 'overspent',
        case s.kind when 'reservation' then 'reservation ' || s.id
            else s.kind || ' ' || s.version end,
        format('overage of at most %s', s.overdraft_limit), s.overage::text
    from spent as s
    where s.overage > s.overdraft_limit;
end
$$;
