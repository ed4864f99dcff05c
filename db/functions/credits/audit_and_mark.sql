-- credits.audit_and_mark: audit the accounts of a range, and mark those that are clean.
--
-- In whole, or since their marks: then only accounts that are no longer what they were, and
-- of these only what came since. docs/auditor.md says what is not looked at again. Usage is
-- audited with them, for a mark says that nothing at all was found.
--
-- Where something is found, the mark is doubted: it stays, as a witness, but nothing goes on
-- from it. All of the account is read each time, until nothing is found. Only an audit that
-- knew of a doubt takes it away: one that began before it may have seen nothing yet.
--
-- One statement, so that what is marked is what was audited: all of it reads one snapshot.
-- A mark never goes back. Where the marks are about to be written by another, wait for it.
--
-- Each row carries how many accounts were read and how many had nothing new and were skipped;
-- where nothing is found there is one row, with no finding.
--
-- locks     the marks it writes
-- refuses   nothing
-- replays   audits again
-- ends in   itself
create or replace function credits.audit_and_mark(
    p_first uuid, p_last uuid, p_since_last boolean
)
returns table (
    read bigint, skipped bigint,
    account_id uuid, invariant text, subject text, expected text, actual text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
as $$
#variable_conflict use_column
begin
    return query
    with begun as materialized (
        select credits._audit_from(p_first, p_last, p_since_last) as marks
    ),
    found as materialized (
        select p.*
        from begun as b
        cross join lateral credits._audit_parts(b.marks) as p
        union all
        select u.*
        from begun as b
        cross join lateral usage._audit_records(b.marks) as u
        union all
        select k.*
        from credits._audit_marked_accounts(p_first, p_last) as k
        union all
        select o.*
        from credits._audit_orphans(p_first, p_last) as o
        where not p_since_last
        union all
        select u.*
        from begun as b
        cross join lateral usage._audit_orphans(
            p_first, p_last, array(select m.account_id from unnest(b.marks) as m)) as u
        where not p_since_last
    ),
    marked as (
        insert into credits.audit_marks as k
        select n.*
        from begun as b
        cross join lateral credits._audit_next(b.marks) as n
        where not exists (select from found as f where f.account_id = n.account_id)
        order by n.account_id
        on conflict on constraint audit_marks_pkey do update
        set version = excluded.version, account_hash = excluded.account_hash,
            clock_at = excluded.clock_at, available = excluded.available,
            reserved = excluded.reserved, overage = excluded.overage,
            monthly = excluded.monthly, bonus = excluded.bonus,
            granted_total = excluded.granted_total, spent_total = excluded.spent_total,
            expired_total = excluded.expired_total,
            clawed_back_total = excluded.clawed_back_total,
            spent_at_period_start = excluded.spent_at_period_start,
            period_start = excluded.period_start, monthly_expired = excluded.monthly_expired,
            plan_taken_back = excluded.plan_taken_back, first_id = excluded.first_id,
            reservation_ids = excluded.reservation_ids, grant_ids = excluded.grant_ids,
            grants_remaining = excluded.grants_remaining,
            grants_forfeited = excluded.grants_forfeited, marked_at = excluded.marked_at,
            doubted_at = null
        where k.version <= excluded.version
            and k.doubted_at is not distinct from excluded.doubted_at
    ),
    doubted as (
        update credits.audit_marks as k
        set doubted_at = statement_timestamp()
        from (
            select k.account_id
            from credits.audit_marks as k
            where k.account_id in (select f.account_id from found as f)
            order by k.account_id
            for no key update
        ) as d
        where k.account_id = d.account_id
    ),
    counted as (
        select coalesce(cardinality(b.marks), 0)::bigint as read,
            (
                select count(*) from credits.accounts as a
                where a.account_id between p_first and p_last
            ) as there
        from begun as b
    )
    select c.read, c.there - c.read, f.account_id, f.invariant, f.subject, f.expected, f.actual
    from counted as c
    left join found as f on true
    order by f.account_id, f.invariant, f.subject;
end
$$;
grant execute on function credits.audit_and_mark to exchequer_app;
