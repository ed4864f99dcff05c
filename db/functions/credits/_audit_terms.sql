-- credits._audit_terms: terms and periods of each account against the record of their changes.
--
-- Each change begins where the one before it ended, and the last one ended in what the
-- account says now. Compared as JSON, so that nothing written there can stop the audit.
create or replace function credits._audit_terms(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    with terms as (
        select
            c.account_id,
            c.version,
            c.operation,
            c.before,
            c.after,
            lag(c.after) over line as after_last,
            lag(c.version) over line is null as is_first
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        where c.operation not in ('roll_period', 'cancel_grant')
        window line as (partition by c.account_id order by c.version)
    ),
    newest as (
        select distinct on (t.account_id) t.account_id, t.after
        from terms as t
        order by t.account_id, t.version desc
    ),
    stated as (
        select
            a.account_id,
            jsonb_build_object(
                'periodGrant', a.period_grant,
                'rolloverCap', a.rollover_cap,
                'pendingPeriodGrant', a.pending_period_grant,
                'pendingRolloverCap', a.pending_rollover_cap,
                'pendingAt', a.pending_at,
                'fundedUntil', a.funded_until,
                'overdraftLimit', a.overdraft_limit,
                'lowBalancePercent', a.low_balance_percent,
                'minimumCharge', a.minimum_charge
            ) as terms
        from unnest(p_marks) as m
        join credits.accounts as a on a.account_id = m.account_id
    )
    select t.account_id, 'terms', 'change ' || t.version,
        coalesce(t.after_last::text, 'the opening of the account'),
        coalesce(t.before::text, t.operation)
    from terms as t
    where t.before is distinct from t.after_last
        or t.is_first <> (t.operation = 'open_account')
    union all
    select s.account_id, 'terms', 'account', coalesce(n.after::text, 'none'), s.terms::text
    from stated as s
    left join newest as n on n.account_id = s.account_id
    where (n.after @> s.terms) is not true;

    return query
    with periods as (
        -- The first period has no row of its own: it begins with the account.
        select a.account_id, 0::bigint as version, a.created_at as starts_at,
            null::jsonb as before, null::jsonb as after, a.anchor_day, a.created_at as opened_at,
            a.period_start, a.period_end
        from unnest(p_marks) as m
        join credits.accounts as a on a.account_id = m.account_id
        union all
        select c.account_id, c.version, c.created_at, c.before, c.after,
            a.anchor_day, a.created_at, a.period_start, a.period_end
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        join credits.accounts as a on a.account_id = m.account_id
        where c.operation = 'roll_period'
    ),
    line as (
        select
            p.*,
            case when p.version = 0 then 'account' else 'change ' || p.version end as subject,
            lag(p.starts_at) over line as started_last,
            lag(p.after) over line as after_last,
            lead(p.starts_at, 1, p.period_end) over line as ends_at,
            lead(p.version) over line is null as is_last
        from periods as p
        window line as (partition by p.account_id order by p.version)
    ),
    judged as (
        select
            l.*,
            l.starts_at at time zone 'UTC' as starts,
            l.ends_at at time zone 'UTC' as ends
        from line as l
    )
    select j.account_id, 'period', f.subject, f.expected, f.actual
    from judged as j
    cross join lateral (values
        (
            -- What it says it followed is what came before.
            j.version = 0 or (j.before = jsonb_build_object(
                'periodStart', j.started_last, 'periodEnd', j.starts_at)
                and coalesce(j.before = j.after_last, true)),
            j.subject,
            coalesce(j.after_last, jsonb_build_object(
                'periodStart', j.started_last, 'periodEnd', j.starts_at))::text,
            coalesce(j.before::text, 'none')
        ),
        (
            -- What it says it began is what is, until the next.
            j.version = 0 or j.after = jsonb_build_object(
                'periodStart', j.starts_at, 'periodEnd', j.ends_at),
            j.subject,
            jsonb_build_object('periodStart', j.starts_at, 'periodEnd', j.ends_at)::text,
            coalesce(j.after::text, 'none')
        ),
        (
            not j.is_last or j.starts_at = j.period_start,
            'account', 'begins ' || j.starts_at, 'begins ' || j.period_start
        ),
        (
            -- A month later, at the same time of day, on the anchor day or, where the month
            -- is too short for it, on the month's last day.
            extract(year from j.ends) * 12 + extract(month from j.ends)
            = extract(year from j.starts) * 12 + extract(month from j.starts) + 1
            and j.ends::time = j.starts::time
            and (
                extract(day from j.ends) = j.anchor_day
                or (
                    extract(day from j.ends) < j.anchor_day
                    and extract(day from j.ends + interval '1 day') = 1
                )
            ),
            case when j.is_last then 'account' else j.subject end,
            format('one month from %s, on day %s', j.starts_at, j.anchor_day),
            j.ends_at::text
        )
    ) as f (holds, subject, expected, actual)
    where f.holds is not true;
end
$$;
