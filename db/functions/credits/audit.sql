-- credits.audit: prove every invariant of an account, or of all; name the rows that break one.
--
-- No row means that the books are clean. Written from the rules and the tables, by other
-- hands than the functions it audits, and calls none of them. docs/auditor.md says what
-- each invariant means.
--
-- Stable, so that every part reads the snapshot of the one statement that calls it: calls
-- that commit meanwhile are seen by all parts or by none, and no account has to be locked.
-- Planned anew each time: one account is a matter of indexes, all of them are scans.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself; usage.audit is the other half
create or replace function credits.audit(p_account_id uuid default null)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
set plan_cache_mode = 'force_custom_plan' set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
    return query
        select f.account_id, f.invariant, f.subject, f.expected, f.actual
        from (
            select b.* from credits._audit_balances(p_account_id) as b
            union all
            select t.* from credits._audit_terms(p_account_id) as t
            union all
            select a.* from credits._audit_allowances(p_account_id) as a
            union all
            select l.* from credits._audit_ledger(p_account_id) as l
            union all
            select v.* from credits._audit_versions(p_account_id) as v
            union all
            select r.* from credits._audit_reservations(p_account_id) as r
            union all
            select g.* from credits._audit_grants(p_account_id) as g
            union all
            select d.* from credits._audit_draws(p_account_id) as d
            union all
            select w.* from credits._audit_returns(p_account_id) as w
            union all
            select o.* from credits._audit_orphans(p_account_id) as o
        ) as f
        order by f.account_id, f.invariant, f.subject;
end
$$;
grant execute on function credits.audit to exchequer_app;
