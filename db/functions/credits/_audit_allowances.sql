-- credits._audit_allowances: each period is granted its allowance once, until its end.
--
-- By the terms in force when it began: nothing where it is not paid for, as many credits
-- as the allowance says where it is, and of the monthly credits that expired at that
-- moment as many as the cap lets roll over. Where it is paid for late, they roll over then;
-- until then the account says that they are withheld. A change within the period is by the
-- difference.
create or replace function credits._audit_allowances(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- Near the largest lifetime sum an allowance may be cut short.
    c_ample constant numeric := 8000000000000000000;
begin
    return query
    with periods as (
        select
            c.account_id,
            c.version,
            c.operation,
            s.starts_at,
            lead(s.starts_at, 1, a.period_end) over (
                partition by c.account_id order by c.version) as ends_at,
            lead(c.version) over (partition by c.account_id order by c.version) as version_next,
            a.rollover_withheld,
            m.period_start as period_marked
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        join credits.accounts as a on a.account_id = m.account_id
        cross join lateral (
            select case c.operation when 'open_account' then a.created_at else c.created_at end
                as starts_at
        ) as s
        where c.operation in ('open_account', 'roll_period')
    ),
    known as (
        select
            p.*,
            case when jsonb_typeof(t.after -> 'periodGrant') = 'number'
                then (t.after ->> 'periodGrant')::numeric end as allowance,
            case when jsonb_typeof(t.after -> 'rolloverCap') = 'number'
                then (t.after ->> 'rolloverCap')::numeric end as rollover_cap,
            -- As text, in the order of time: what is written there cannot stop the audit.
            coalesce(to_jsonb(p.starts_at) #>> '{}' collate "C"
                < t.after ->> 'fundedUntil' collate "C", true) as is_funded,
            -- Of what was unlimited until this moment, nothing rolls over.
            (case
                when t.operation = 'apply_pending_allowance' and t.created_at = p.starts_at
                    then t.before
                else t.after
            end ->> 'periodGrant') is not distinct from '-1' as was_unlimited,
            l.allowance as allowance_paid_late
        from periods as p
        left join lateral (
            select c.operation, c.created_at, c.before, c.after
            from credits.account_changes as c
            where c.account_id = p.account_id
                and c.version <= p.version
                and c.operation not in ('roll_period', 'cancel_grant')
            order by c.version desc
            limit 1
        ) as t on true
        left join lateral (
            select c.after ->> 'periodGrant' as allowance
            from credits.account_changes as c
            where c.account_id = p.account_id
                and c.version > p.version
                and (p.version_next is null or c.version < p.version_next)
                and c.operation = 'set_allowance'
                and coalesce(to_jsonb(p.starts_at) #>> '{}' collate "C"
                    < c.after ->> 'fundedUntil' collate "C", true)
            order by c.version
            limit 1
        ) as l on true
        -- The period of the mark goes on; those before it are done with.
        where coalesce(p.starts_at >= p.period_marked, true)
    ),
    given as (
        select
            g.account_id, g.operation, g.effective_at,
            count(*) filter (where g.source = 'plan_allocation') as allocations,
            sum(g.amount) filter (where g.source = 'plan_allocation') as allocated,
            sum(g.amount) filter (where g.source = 'rollover') as rolled_over,
            min(g.expires_at) as expires_first,
            max(g.expires_at) as expires_last,
            count(*) filter (where g.expires_at is null) as endless
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.operation in ('open_account', 'roll_period')
            and g.pool = 'monthly'
            and coalesce(g.effective_at >= m.period_start, true)
        group by g.account_id, g.operation, g.effective_at
    ),
    late as (
        select
            g.account_id, g.amount, g.effective_at, g.expires_at,
            count(*) over (partition by g.account_id, g.expires_at) as times
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.operation = 'set_allowance'
            and g.source = 'rollover'
    ),
    granted as (
        select g.account_id, sum(g.amount) as amount
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        group by g.account_id
    ),
    expired as (
        select t.account_id, t.created_at, sum(t.amount) as amount
        from (
            select m.account_id, m.period_start as created_at, m.monthly_expired as amount
            from unnest(p_marks) as m
            union all
            select t.account_id, t.created_at, -t.amount
            from credits._audit_read_ledger(p_marks) as t
            join credits.grants as g on g.account_id = t.account_id and g.id = t.grant_id
            where t.operation = 'expire_grant' and g.pool = 'monthly'
        ) as t
        group by t.account_id, t.created_at
    ),
    judged as (
        select
            coalesce(k.account_id, g.account_id) as account_id,
            case when k.version is null then 'grants of ' || g.effective_at
                else 'change ' || k.version end as subject,
            k.allowance,
            k.ends_at,
            case when k.is_funded then k.allowance else 0 end as due,
            case
                when k.is_funded and k.allowance <> -1 and not k.was_unlimited
                    and k.operation = 'roll_period'
                then least(k.rollover_cap, coalesce(e.amount, 0)) else 0 end as rollover_due,
            coalesce(g.allocations, 0) as allocations,
            coalesce(g.allocated, 0) as allocated,
            coalesce(g.rolled_over, 0) as rolled_over,
            g.expires_first,
            coalesce(g.endless = 0 and g.expires_first = k.ends_at
                and g.expires_last = k.ends_at, g.account_id is null) as ends,
            l.amount > c_ample as is_cut,
            case when k.version_next is null and k.allowance_paid_late is null
                then w.due else 0 end as withheld_due,
            case when k.version_next is null then k.rollover_withheld
                else 0 end as withheld_said,
            case when k.allowance_paid_late <> '-1' then w.due else 0 end as late_due,
            coalesce(p.amount, 0) as late,
            p.times is null
                or p.times = 1 and p.effective_at >= k.starts_at as late_once
        from known as k
        full join given as g
            on g.account_id = k.account_id
                and g.operation = k.operation
                and g.effective_at = k.starts_at
        left join expired as e
            on e.account_id = k.account_id and e.created_at = k.starts_at
        left join granted as l on l.account_id = k.account_id
        left join late as p on p.account_id = k.account_id and p.expires_at = k.ends_at
        cross join lateral (
            select case
                when k.operation = 'roll_period' and not k.is_funded and k.allowance <> -1
                    and not k.was_unlimited
                    then least(k.rollover_cap, coalesce(e.amount, 0))
                else 0
            end as due
        ) as w
    )
    select j.account_id, 'allowance',
        case when j.withheld_said = j.withheld_due or j.is_cut then j.subject else 'account' end,
        format('one of %s, %s rolled over, %s rolled over late, %s withheld, until %s',
            j.due, j.rollover_due, j.late_due, j.withheld_due, j.ends_at),
        format('%s of %s, %s rolled over, %s rolled over late, %s withheld, until %s',
            j.allocations, j.allocated, j.rolled_over, j.late, j.withheld_said,
            j.expires_first)
    from judged as j
    where (
            j.ends
            and case
                -- Where there is no room, an unlimited block is cut short too, to nothing at last.
                when j.due = -1 then j.allocations = 1 or (j.is_cut and j.allocations = 0)
                when j.is_cut then j.allocated <= j.due and j.rolled_over <= j.rollover_due
                else j.allocated = j.due and j.allocations = (j.due > 0)::int
            end
            and (j.is_cut or j.rolled_over = j.rollover_due)
            and j.late_once
            and j.late <= j.late_due
            and j.withheld_said <= j.withheld_due
            and (
                j.is_cut or (j.late, j.withheld_said) = (j.late_due, j.withheld_due)
            )
        ) is not true;

    -- Whatever is granted within a period ends with it.
    return query
    with periods as (
        select c.account_id, c.version, c.created_at as starts_at
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        where c.operation = 'roll_period'
        union all
        select a.account_id, 0, a.created_at
        from unnest(p_marks) as m
        join credits.accounts as a on a.account_id = m.account_id
    ),
    line as (
        select p.account_id, p.starts_at,
            lead(p.starts_at, 1, a.period_end) over (
                partition by p.account_id order by p.version) as ends_at
        from periods as p
        join credits.accounts as a on a.account_id = p.account_id
    )
    select g.account_id, 'allowance', 'grant ' || g.id,
        format('until %s', l.ends_at), format('until %s', g.expires_at)
    from credits.grants as g
    join line as l
        on l.account_id = g.account_id
            and l.starts_at <= g.effective_at
            and g.effective_at < l.ends_at
    where g.pool = 'monthly'
        and g.expires_at is distinct from l.ends_at;

    -- An allowance that was changed at once left the period with no less than it says:
    -- taken back is only what goes beyond.
    return query
    with changed as (
        select
            c.account_id,
            c.version,
            (c.after ->> 'periodGrant')::numeric as allowance,
            coalesce((
                select max(p.created_at)
                from credits.account_changes as p
                where p.account_id = c.account_id
                    and p.operation = 'roll_period'
                    and p.version < c.version
            ), a.created_at) as starts_at,
            c.after ->> 'fundedUntil' as funded_until
        from unnest(p_marks) as m
        join credits.account_changes as c
            on c.account_id = m.account_id and c.version > m.version
        join credits.accounts as a on a.account_id = m.account_id
        where c.operation = 'set_allowance'
            and jsonb_typeof(c.after -> 'periodGrant') = 'number'
            and jsonb_typeof(c.after -> 'pendingAt') = 'null'
    ),
    planned as (
        select m.account_id, m.version, m.period_start as effective_at,
            -m.plan_taken_back as amount
        from unnest(p_marks) as m
        union all
        select g.account_id, g.version, g.effective_at, g.amount
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.source in ('plan_allocation', 'plan_change')
            and g.version is not null
        union all
        select t.account_id, t.version, g.effective_at, t.amount
        from credits._audit_read_ledger(p_marks) as t
        join credits.grants as g on g.account_id = t.account_id and g.id = t.grant_id
        where t.type = 'plan_change'
            and t.amount < 0
    )
    select c.account_id, 'allowance', 'change ' || c.version,
        format('at least %s in the period from %s', c.allowance, c.starts_at),
        coalesce(sum(p.amount), 0)::text
    from changed as c
    left join planned as p
        on p.account_id = c.account_id
            and p.version < c.version
            and p.effective_at >= c.starts_at
    where coalesce(to_jsonb(c.starts_at) #>> '{}' collate "C"
        < c.funded_until collate "C", true)
    group by c.account_id, c.version, c.allowance, c.starts_at
    having coalesce(sum(p.amount), 0) < c.allowance;
end
$$;
