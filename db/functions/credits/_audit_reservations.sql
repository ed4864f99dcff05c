-- credits._audit_reservations: each reservation, its extensions and what it was settled for.
create or replace function credits._audit_reservations(p_account_id uuid)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with raised as (
        select e.account_id, e.version, e.reservation_id, e.amount, e.expires_at, e.created_at,
            lag(e.amount) over line as amount_last,
            lag(e.expires_at) over line as expired_last,
            lead(e.version) over line is null as is_last
        from credits.reservation_extensions as e
        where p_account_id is null or e.account_id = p_account_id
        window line as (partition by e.account_id, e.reservation_id order by e.version)
    ),
    known as (
        select
            r.*,
            r.opened_at + make_interval(secs => r.requested_ttl_seconds) as first_expires_at,
            coalesce(x.amount, r.requested_amount) as amount_due,
            coalesce(x.expires_at,
                r.opened_at + make_interval(secs => r.requested_ttl_seconds)) as expires_due
        from credits.reservations as r
        left join raised as x
            on x.is_last and x.account_id = r.account_id and x.reservation_id = r.id
        where p_account_id is null or r.account_id = p_account_id
    )
    select k.account_id, f.invariant, 'reservation ' || k.id, f.expected, f.actual
    from known as k
    cross join lateral (values
        (
            'reservation_state',
            case k.status
                when 'pending' then
                    num_nonnulls(k.closed_version, k.closed_at, k.settled_version,
                        k.settled_amount, k.release_reason) = 0
                when 'settled' then
                    num_nulls(k.closed_version, k.closed_at, k.settled_version,
                        k.settled_amount) = 0
                    and k.release_reason is null
                    and k.settled_amount >= 0
                    and k.settled_version >= k.closed_version
                    and (k.settled_version = k.closed_version or k.closed_at >= k.expires_at)
                when 'released' then
                    num_nulls(k.closed_version, k.closed_at) = 0
                    and num_nonnulls(k.settled_version, k.settled_amount) = 0
                when 'expired' then
                    num_nulls(k.closed_version, k.closed_at) = 0
                    and num_nonnulls(k.settled_version, k.settled_amount, k.release_reason) = 0
                    and k.closed_at >= k.expires_at
            end
            and k.amount > 0
            and coalesce(k.opened_version < k.closed_version, true)
            and coalesce(k.opened_at <= k.closed_at, true),
            'columns as its status says',
            format('%s: versions %s, %s, %s; %s to %s, expires %s', k.status, k.opened_version,
                k.closed_version, k.settled_version, k.opened_at, k.closed_at, k.expires_at)
        ),
        (
            'extension', k.amount = k.amount_due and k.expires_at = k.expires_due,
            format('%s until %s', k.amount_due, k.expires_due),
            format('%s until %s', k.amount, k.expires_at)
        )
    ) as f (invariant, holds, expected, actual)
    where f.holds is not true
    union all
    select x.account_id, 'extension', 'extension ' || x.version,
        case when k.id is null then format('reservation %s', x.reservation_id)
            else format('more than %s until %s, in versions %s to %s',
                coalesce(x.amount_last, k.requested_amount),
                coalesce(x.expired_last, k.first_expires_at),
                k.opened_version, k.closed_version) end,
        case when k.id is null then 'none'
            else format('%s until %s', x.amount, x.expires_at) end
    from raised as x
    left join known as k on k.account_id = x.account_id and k.id = x.reservation_id
    where (
            x.amount >= coalesce(x.amount_last, k.requested_amount)
            and x.expires_at >= coalesce(x.expired_last, k.first_expires_at)
            and (x.amount, x.expires_at) <> (
                coalesce(x.amount_last, k.requested_amount),
                coalesce(x.expired_last, k.first_expires_at))
            and x.version > k.opened_version
            and x.version < coalesce(k.closed_version, x.version + 1)
            and x.created_at >= k.opened_at
            and x.created_at <= coalesce(k.closed_at, x.created_at)
        ) is not true;

    return query
    with settled as (
        select r.account_id, r.settled_version as version, r.id, r.settled_amount, r.amount,
            case when r.settled_version = r.closed_version then r.closed_at end as closed_at
        from credits.reservations as r
        where r.settled_amount > 0 and (p_account_id is null or r.account_id = p_account_id)
    ),
    booked as (
        select t.account_id, t.version, t.type, t.operation, t.amount, t.reservation_id,
            t.estimated, t.created_at
        from credits.transactions as t
        where (
                t.reservation_id is not null
                or t.estimated is not null
                or t.operation = 'settle'
                or (t.type = 'consumption') is distinct from (t.operation = 'deduct')
            )
            and (p_account_id is null or t.account_id = p_account_id)
    )
    select
        coalesce(s.account_id, b.account_id), 'settlement',
        case when b.version is null then 'reservation ' || s.id
            else 'transaction ' || b.version end,
        case when s.id is null then 'a reservation settled at this version'
            else format('consumption of %s at version %s, estimated %s, at %s',
                s.settled_amount, s.version, s.amount, coalesce(s.closed_at, b.created_at)) end,
        case
            when b.version is null then 'none'
            when s.id is null then format('none for reservation %s', b.reservation_id)
            else format('%s of %s at version %s, estimated %s, at %s',
                b.type, -b.amount, b.version, b.estimated, b.created_at)
        end
    from settled as s
    full join booked as b
        on b.account_id = s.account_id and b.version = s.version and b.reservation_id = s.id
    where (
            b.type = 'consumption' and b.operation = 'settle'
            and b.amount = -s.settled_amount and b.estimated = s.amount
            and coalesce(b.created_at = s.closed_at, true)
        ) is not true;
end
$$;
