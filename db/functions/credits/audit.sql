-- credits.audit: prove every invariant of an account, or of all; name the rows that break one.
--
-- No row means that the books are clean. Written from the rules and the tables, by other
-- hands than the functions it audits, and calls none of them. docs/auditor.md says what
-- each invariant means.
--
-- Stable, so that every part reads the snapshot of the one statement that calls it: calls
-- that commit meanwhile are seen by all parts or by none, and no account has to be locked.
-- All accounts are audited as of one moment, a thousand at a time.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself; usage.audit is the other half, credits.audit_and_mark does both
create or replace function credits.audit(p_account_id uuid default null)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_first uuid := coalesce(p_account_id, '00000000-0000-0000-0000-000000000000');
    v_last uuid := coalesce(p_account_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    v_page record;
begin
    for v_page in select p.first, p.last from credits._audit_pages(p_account_id) as p loop
        return query
            select p.account_id, p.invariant, p.subject, p.expected, p.actual
            from credits._audit_parts(
                credits._audit_from(v_page.first, v_page.last, false)) as p
            order by p.account_id, p.invariant, p.subject;
    end loop;
    return query
        select f.account_id, f.invariant, f.subject, f.expected, f.actual
        from (
            select o.* from credits._audit_orphans(v_first, v_last) as o
            union all
            select k.* from credits._audit_marked_accounts(v_first, v_last) as k
        ) as f
        order by f.account_id, f.invariant, f.subject;
end
$$;
grant execute on function credits.audit to exchequer_app;
