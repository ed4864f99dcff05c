-- credits._audit_balances: the figures of each account against the rows they stand for.
--
-- Sums are numeric: a figure that was tampered with must be reported, not overflow.
create or replace function credits._audit_balances(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with held as (
        select r.account_id, sum(r.amount) as amount
        from unnest(p_marks) as m
        cross join lateral (
            select r.account_id, r.amount
            from credits.reservations as r
            where r.account_id = m.account_id and r.status = 'pending'
            -- Account by account: see credits._audit_read_ledger.
            offset 0
        ) as r
        group by r.account_id
    ),
    given as (
        select
            g.account_id,
            sum(g.amount) filter (where g.version is not null) as amount,
            sum(g.remaining) filter (where g.version is not null and g.pool = 'monthly')
                as monthly,
            sum(g.remaining) filter (where g.version is not null and g.pool = 'bonus')
                as bonus,
            sum(g.remaining) filter (where g.state = 'live') as live,
            sum(g.remaining) filter (where g.state = 'lapsed') as lapsed,
            min(case g.state when 'scheduled' then g.effective_at when 'live' then g.expires_at
                end) as due_at
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        group by g.account_id
    ),
    rolled as (
        select c.account_id, max(c.version) as version
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        where c.operation = 'roll_period'
        group by c.account_id
    ),
    booked as (
        select
            t.account_id,
            sum(t.amount) filter (where t.amount > 0) as granted,
            -sum(t.amount) filter (where t.type = 'consumption') as spent,
            -sum(t.amount) filter (where t.type = 'expiration') as expired,
            -sum(t.amount) filter (
                where t.amount < 0 and t.type not in ('consumption', 'expiration'))
                as clawed_back,
            -sum(t.amount) filter (where t.type = 'consumption' and t.version < p.version)
                as spent_before_period
        from credits._audit_read_ledger(p_marks) as t
        left join rolled as p on p.account_id = t.account_id
        group by t.account_id
    ),
    known as (
        select
            a.*,
            a.monthly::numeric + a.bonus + a.overage - a.available - a.reserved as unfunded,
            least(
                a.available, a.reserved, a.overage, a.overdraft_limit, a.lapsed, a.monthly,
                a.bonus, a.granted_total, a.spent_total, a.expired_total,
                a.clawed_back_total, a.spent_at_period_start) as smallest,
            coalesce(h.amount, 0) as held,
            coalesce(g.amount, 0) as given,
            coalesce(g.monthly, 0) as monthly_left,
            coalesce(g.bonus, 0) as bonus_left,
            coalesce(g.live, 0) as live_left,
            coalesce(g.lapsed, 0) as lapsed_left,
            m.granted_total + coalesce(b.granted, 0) as granted,
            m.spent_total + coalesce(b.spent, 0) as spent,
            m.expired_total + coalesce(b.expired, 0) as expired,
            m.clawed_back_total + coalesce(b.clawed_back, 0) as clawed_back,
            case when p.version > m.version
                then m.spent_total + coalesce(b.spent_before_period, 0)
                else m.spent_at_period_start end as spent_before_period,
            least(a.period_end, a.pending_at, g.due_at) as due_at,
            case
                when a.period_grant = -1 then 'ample'
                when a.available::numeric + a.reserved - a.overage + a.overdraft_limit
                    < a.minimum_charge then 'depleted'
                when greatest(0, a.available::numeric + a.reserved - a.overage)
                    < div(greatest(0, a.period_grant)::numeric * a.low_balance_percent, 100)
                    then 'low'
                else 'ample'
            end as level_due
        from unnest(p_marks) as m
        join credits.accounts as a on a.account_id = m.account_id
        left join held as h on h.account_id = a.account_id
        left join given as g on g.account_id = a.account_id
        left join rolled as p on p.account_id = a.account_id
        left join booked as b on b.account_id = a.account_id
    )
    select k.account_id, f.invariant, 'account', f.expected, f.actual
    from known as k
    cross join lateral (values
        (
            'conservation',
            k.granted_total::numeric + k.overage = k.available::numeric + k.reserved
                + k.spent_total + k.expired_total + k.clawed_back_total,
            (k.granted_total::numeric + k.overage)::text,
            (k.available::numeric + k.reserved + k.spent_total + k.expired_total
                + k.clawed_back_total)::text
        ),
        ('not_negative', k.smallest >= 0, 'at least 0', k.smallest::text),
        (
            'one_sided', k.available = 0 or k.overage = 0,
            'available or overage',
            format('available %s, overage %s', k.available, k.overage)
        ),
        ('reserved', k.reserved = k.held, k.held::text, k.reserved::text),
        ('monthly', k.monthly = k.monthly_left, k.monthly_left::text, k.monthly::text),
        ('bonus', k.bonus = k.bonus_left, k.bonus_left::text, k.bonus::text),
        ('lapsed', k.lapsed = k.lapsed_left, k.lapsed_left::text, k.lapsed::text),
        (
            'lapsed_bounds',
            k.lapsed <= k.reserved and k.lapsed <= k.monthly::numeric + k.bonus,
            format('at most %s reserved and %s left', k.reserved, k.monthly::numeric + k.bonus),
            k.lapsed::text
        ),
        (
            'granted_total', k.granted_total = k.granted,
            k.granted::text, k.granted_total::text
        ),
        (
            'granted_by_grants', k.granted_total = k.given,
            k.given::text, k.granted_total::text
        ),
        ('spent_total', k.spent_total = k.spent, k.spent::text, k.spent_total::text),
        (
            'expired_total', k.expired_total = k.expired,
            k.expired::text, k.expired_total::text
        ),
        (
            'clawed_back_total', k.clawed_back_total = k.clawed_back,
            k.clawed_back::text, k.clawed_back_total::text
        ),
        (
            'spent_at_period_start', k.spent_at_period_start = k.spent_before_period,
            k.spent_before_period::text, k.spent_at_period_start::text
        ),
        ('level', k.level = k.level_due, k.level_due, k.level),
        ('unfunded', k.unfunded >= 0, 'at least 0', k.unfunded::text),
        (
            'unfunded', k.unfunded <= 0 or k.live_left = 0,
            format('0 while live grants have %s', k.live_left), k.unfunded::text
        ),
        (
            'next_due', k.next_due_at <= k.due_at,
            format('at most %s', k.due_at), k.next_due_at::text
        )
    ) as f (invariant, holds, expected, actual)
    where f.holds is not true;
end
$$;
