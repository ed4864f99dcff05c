-- credits._audit_reservations: each reservation, its extensions and what it was settled for.
create or replace function credits._audit_reservations(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- The columns say what the status says, and amount and expiry are those of the last
    -- extension; where there was none, those that were asked for.
    return query
    with raised as (
        select distinct on (e.account_id, e.reservation_id)
            e.account_id, e.reservation_id, e.amount, e.expires_at
        from credits._audit_read_extensions(p_marks) as e
        order by e.account_id, e.reservation_id, e.version desc
    ),
    judged as (
        select
            r.account_id, r.id, r.status, r.amount, r.opened_at, r.expires_at, r.closed_at,
            r.opened_version, r.closed_version, r.settled_version, r.settled_amount,
            coalesce(x.amount, r.requested_amount) as amount_due,
            coalesce(x.expires_at,
                r.opened_at + make_interval(secs => r.requested_ttl_seconds)) as expires_due,
            (
                case r.status
                    when 'pending' then
                        num_nonnulls(r.closed_version, r.closed_at, r.settled_version,
                            r.settled_amount, r.release_reason) = 0
                    when 'settled' then
                        num_nulls(r.closed_version, r.closed_at, r.settled_version,
                            r.settled_amount) = 0
                        and r.release_reason is null
                        and r.settled_amount >= 0
                        and r.settled_version >= r.closed_version
                        and (r.settled_version = r.closed_version
                            or r.closed_at >= r.expires_at)
                    when 'released' then
                        num_nulls(r.closed_version, r.closed_at) = 0
                        and num_nonnulls(r.settled_version, r.settled_amount) = 0
                    when 'expired' then
                        num_nulls(r.closed_version, r.closed_at) = 0
                        and num_nonnulls(r.settled_version, r.settled_amount,
                            r.release_reason) = 0
                        and r.closed_at >= r.expires_at
                end
                and r.amount > 0
                and coalesce(r.opened_version < r.closed_version, true)
                and coalesce(r.opened_at <= r.closed_at, true)
            ) is true as has_state
        from credits._audit_read_reservations(p_marks) as r
        left join raised as x on x.account_id = r.account_id and x.reservation_id = r.id
    )
    select j.account_id, f.invariant, 'reservation ' || j.id, f.expected, f.actual
    from judged as j
    cross join lateral (values
        (
            'reservation_state', j.has_state,
            'columns as its status says',
            format('%s at versions %s, %s, %s; for %s from %s to %s, expires %s', j.status,
                j.opened_version, j.closed_version, j.settled_version, j.amount,
                j.opened_at, j.closed_at, j.expires_at)
        ),
        (
            'extension', j.amount = j.amount_due and j.expires_at = j.expires_due,
            format('%s until %s', j.amount_due, j.expires_due),
            format('%s until %s', j.amount, j.expires_at)
        )
    ) as f (invariant, holds, expected, actual)
    where not (j.has_state and j.amount = j.amount_due and j.expires_at = j.expires_due)
        and not f.holds;

    -- Each extension lies in the life of its reservation and raises what there was.
    return query
    with raised as (
        select
            e.account_id, e.version, e.amount, e.expires_at, e.created_at, e.reservation_id,
            r.id, r.opened_version, r.closed_version, r.opened_at, r.closed_at,
            coalesce(lag(e.amount) over line, r.requested_amount) as amount_last,
            coalesce(lag(e.expires_at) over line,
                r.opened_at + make_interval(secs => r.requested_ttl_seconds)) as expired_last
        from credits._audit_read_extensions(p_marks) as e
        left join credits._audit_read_reservations(p_marks) as r
            on r.account_id = e.account_id and r.id = e.reservation_id
        window line as (partition by e.account_id, e.reservation_id order by e.version)
    )
    select x.account_id, 'extension', 'extension ' || x.version,
        case when x.id is null then format('reservation %s', x.reservation_id)
            else format('more than %s until %s, between versions %s and %s',
                x.amount_last, x.expired_last, x.opened_version, x.closed_version) end,
        case when x.id is null then 'none'
            else format('%s until %s', x.amount, x.expires_at) end
    from raised as x
    where (
            x.amount >= x.amount_last
            and x.expires_at >= x.expired_last
            and (x.amount > x.amount_last or x.expires_at > x.expired_last)
            and x.version > x.opened_version
            and coalesce(x.version < x.closed_version, true)
            and x.created_at >= x.opened_at
            and coalesce(x.created_at <= x.closed_at, true)
        ) is not true;

    -- Each reservation settled for more than nothing has one consumption under its version,
    -- and each consumption is of such a reservation or a deduction.
    return query
    with settled as (
        select r.account_id, r.settled_version as version, r.id, r.settled_amount, r.amount,
            case when r.settled_version = r.closed_version then r.closed_at end as closed_at
        from unnest(p_marks) as m
        join credits._audit_read_reservations(p_marks) as r on r.account_id = m.account_id
        where r.settled_amount > 0 and r.settled_version > m.version
    ),
    booked as (
        select t.account_id, t.version, t.type, t.operation, t.amount, t.reservation_id,
            t.estimated, t.created_at
        from credits._audit_read_ledger(p_marks) as t
        where (
                t.reservation_id is not null
                or t.estimated is not null
                or t.operation = 'settle'
                or (t.type = 'consumption') <> (t.operation = 'deduct')
            )
    )
    select
        coalesce(s.account_id, b.account_id),
        case when b.amount = -s.settled_amount and b.estimated is distinct from s.amount
            then 'estimate' else 'settlement' end,
        case
            when s.id is null then 'transaction ' || b.version
            when b.amount = -s.settled_amount and b.estimated is distinct from s.amount
                then 'transaction ' || b.version
            else 'reservation ' || s.id
        end,
        case when s.id is null then 'a reservation settled at this version'
            else format('consumption of %s at version %s, estimated %s, at %s',
                s.settled_amount, s.version, s.amount, coalesce(s.closed_at, b.created_at)) end,
        case
            when b.version is null then 'none'
            when s.id is null then format('none, for reservation %s', b.reservation_id)
            else format('%s of %s at version %s, estimated %s, at %s',
                b.type, -b.amount, b.version, b.estimated, b.created_at)
        end
    from settled as s
    full join booked as b
        on b.account_id = s.account_id and b.version = s.version and b.reservation_id = s.id
    where (
            b.type = 'consumption'
            and b.operation = 'settle'
            and b.amount = -s.settled_amount
            and b.estimated = s.amount
            and coalesce(b.created_at = s.closed_at, true)
        ) is not true;
end
$$;
