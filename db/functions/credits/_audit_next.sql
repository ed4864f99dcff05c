-- credits._audit_next: the marks that audits of some accounts leave if they find nothing.
--
-- Of an account that waits for its next catch-up there is none: what falls due at one moment
-- may be half written. Each tells of the doubt that is answered by it, if there was one.
create or replace function credits._audit_next(p_marks credits.audit_marks[])
returns setof credits.audit_marks
language plpgsql stable strict set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- Ids are made by the server's clock: before this moment, but for the longest call.
    c_margin constant interval := interval '10 seconds';
    v_first_id uuid := (lpad(to_hex(
        (extract(epoch from statement_timestamp() - c_margin) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid;
begin
    return query
    with returned as (
        -- What the period began with, and what was taken back of it: see
        -- credits._audit_allowances.
        select m.account_id, m.period_start, m.monthly_expired::numeric as expired,
            m.plan_taken_back::numeric as taken_back
        from unnest(p_marks) as m
        union all
        select t.account_id, a.period_start,
            case when t.operation = 'expire_grant' and t.created_at = a.period_start
                then -t.amount else 0 end,
            case when t.type = 'plan_change' and g.effective_at >= a.period_start
                then -t.amount else 0 end
        from credits._audit_read_ledger(p_marks) as t
        join credits.accounts as a on a.account_id = t.account_id
        join credits.grants as g on g.account_id = t.account_id and g.id = t.grant_id
        where t.amount < 0
            and g.pool = 'monthly'
            and (t.operation = 'expire_grant' or t.type = 'plan_change')
    )
    select
        a.account_id, a.version, hash_record_extended(a, 0), a.clock_at,
        a.available, a.reserved, a.overage, a.monthly, a.bonus, a.granted_total,
        a.spent_total, a.expired_total, a.clawed_back_total, a.spent_at_period_start,
        a.period_start, coalesce(b.expired, 0)::credits.microcredits,
        coalesce(b.taken_back, 0)::credits.microcredits,
        v_first_id,
        array(
            select r.id
            from credits.reservations as r
            where r.account_id = a.account_id and r.status = 'pending'
        ),
        coalesce(o.ids, '{}'), coalesce(o.remaining, '{}'), coalesce(o.forfeited, '{}'),
        statement_timestamp(), m.doubted_at
    from unnest(p_marks) as m
    join credits.accounts as a on a.account_id = m.account_id
    left join lateral (
        select
            array_agg(g.id order by g.id) as ids,
            array_agg(g.remaining::bigint order by g.id) as remaining,
            array_agg(g.forfeited::bigint order by g.id) as forfeited
        from credits.grants as g
        where g.account_id = a.account_id and g.state <> 'closed'
    ) as o on true
    left join (
        select w.account_id, w.period_start, sum(w.expired) as expired,
            sum(w.taken_back) as taken_back
        from returned as w
        group by w.account_id, w.period_start
    ) as b on b.account_id = a.account_id and b.period_start = a.period_start
    where a.next_due_at > a.clock_at;
end
$$;
