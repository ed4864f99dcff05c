-- credits._audit_grants: each grant against its ledger row, its state and its time.
create or replace function credits._audit_grants(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- What has come due was worked: unless the account waits for its next catch-up, no
    -- grant is live past its end or scheduled past its beginning.
    return query
    select g.account_id, 'grant_state', 'grant ' || g.id,
        'columns as its state says, as of ' || a.clock_at,
        format('%s: %s of %s left, version %s, from %s until %s', g.state, g.remaining,
            g.amount, g.version, g.effective_at, g.expires_at)
    from unnest(p_marks) as m
    join credits.grants as g on g.account_id = m.account_id
    join credits.accounts as a on a.account_id = m.account_id
    where (
            case g.state
                when 'scheduled' then
                    g.version is null and g.remaining = g.amount
                    and (g.effective_at > a.clock_at or a.next_due_at <= a.clock_at)
                when 'live' then
                    g.version is not null and g.remaining > 0
                    and (coalesce(g.expires_at > a.clock_at, true)
                        or a.next_due_at <= a.clock_at)
                when 'lapsed' then
                    g.version is not null and g.remaining > 0 and g.expires_at <= a.clock_at
                when 'closed' then g.remaining = 0
            end
            and g.amount > 0
            and g.remaining between 0 and g.amount
            and coalesce(g.expires_at > g.effective_at, true)
            and (g.pool = 'monthly') = (g.source in ('plan_allocation', 'plan_change', 'rollover'))
            and (g.source = 'refund') = (g.refund_of is not null)
        ) is not true;

    -- No credit outlives its grant but for a reservation opened before: in the order in
    -- which they lapsed, what is left never exceeds what such reservations hold.
    return query
    with lapsed as (
        select g.account_id, g.id, g.expires_at,
            sum(g.remaining) over (
                partition by g.account_id
                order by g.expires_at, g.priority, g.category = 'paid', g.created_at, g.id
            ) as upto
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.state = 'lapsed'
    )
    select l.account_id, 'lapsed_held', 'grant ' || l.id,
        format('at most %s held by reservations opened before %s', h.amount, l.expires_at),
        l.upto::text
    from lapsed as l
    cross join lateral (
        -- As they were then: what an extension added since was not held from it.
        select coalesce(sum(
            case when r.amount = r.requested_amount then r.amount
                else coalesce(
                    (
                        select e.amount
                        from credits.reservation_extensions as e
                        where e.account_id = r.account_id
                            and e.reservation_id = r.id
                            and e.created_at < l.expires_at
                        order by e.version desc
                        limit 1
                    ),
                    r.requested_amount)
            end
        ), 0) as amount
        from credits.reservations as r
        where r.account_id = l.account_id
            and r.status = 'pending'
            and r.opened_at < l.expires_at
    ) as h
    where l.upto > h.amount;

    -- Each grant that took effect has one ledger row that gave it, and each such row its grant.
    return query
    with given as (
        select g.account_id, g.version, g.id, g.amount, g.source, g.operation, g.refund_of,
            g.effective_at
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.version > m.version or (g.version is not null and g.state <> 'closed')
    ),
    booked as (
        select t.account_id, t.version, t.grant_id, t.amount, t.type, t.operation, t.refund_of,
            t.created_at
        from credits._audit_read_ledger(p_marks) as t
        where t.amount >= 0 or t.refund_of is not null
        union all
        -- Of what is not used up, also from before the mark.
        select t.account_id, t.version, t.grant_id, t.amount, t.type, t.operation, t.refund_of,
            t.created_at
        from unnest(p_marks) as m
        join credits.grants as g
            on g.account_id = m.account_id and g.state <> 'closed' and g.version <= m.version
        cross join lateral (
            select t.*
            from credits.transactions as t
            where t.account_id = g.account_id and t.version = g.version
            -- Row by row: see credits._audit_read_ledger.
            offset 0
        ) as t
        where t.amount >= 0 or t.refund_of is not null
    )
    select
        coalesce(g.account_id, b.account_id), 'activation',
        case when g.id is null then 'transaction ' || b.version else 'grant ' || g.id end,
        case when g.id is null then format('a grant of version %s', b.version)
            else format('%s of %s at version %s, by %s at %s%s', g.source, g.amount, g.version,
                g.operation, g.effective_at, ' for ' || g.refund_of) end,
        case
            when b.version is null then 'none'
            when g.id is null then format('none with id %s', b.grant_id)
            else format('%s of %s at version %s, by %s at %s%s', b.type, b.amount, b.version,
                b.operation, b.created_at, ' for ' || b.refund_of)
        end
    from given as g
    full join booked as b
        on b.account_id = g.account_id and b.version = g.version and b.grant_id = g.id
    where (
            b.amount = g.amount and b.type = g.source and b.operation = g.operation
            and b.refund_of is not distinct from g.refund_of
            and b.created_at = g.effective_at
        ) is not true;
end
$$;
