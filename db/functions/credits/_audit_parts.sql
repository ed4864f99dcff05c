-- credits._audit_parts: every part of the audit, over some accounts.
--
-- From their first row on, or from their marks. Planned anew each time: one account is a
-- matter of indexes, all of them are scans. Strict: where there is nothing to audit, nothing
-- is planned or read.
create or replace function credits._audit_parts(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable strict set search_path = pg_catalog, pg_temp
set plan_cache_mode = 'force_custom_plan' set work_mem = '64MB'
as $$
begin
    return query
    select b.* from credits._audit_balances(p_marks) as b
    union all
    select t.* from credits._audit_terms(p_marks) as t
    union all
    select a.* from credits._audit_allowances(p_marks) as a
    union all
    select l.* from credits._audit_ledger(p_marks) as l
    union all
    select v.* from credits._audit_versions(p_marks) as v
    union all
    select r.* from credits._audit_reservations(p_marks) as r
    union all
    select g.* from credits._audit_grants(p_marks) as g
    union all
    select d.* from credits._audit_draws(p_marks) as d
    union all
    select w.* from credits._audit_returns(p_marks) as w
    union all
    select k.* from credits._audit_marks(p_marks) as k;
end
$$;
