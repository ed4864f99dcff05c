-- usage.audit: prove that everything settled has one usage record, of the same credits.
--
-- And every record its settle. What was settled is asked of credits, and so is which accounts
-- there are: usage reads its own table only. No row means that the records are complete.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself; credits.audit is the other half
create or replace function usage.audit(p_account_id uuid default null)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_page record;
    v_marks credits.audit_marks[];
    v_account_ids uuid[] := array[]::uuid[];
begin
    for v_page in select p.first, p.last from credits._audit_pages(p_account_id) as p loop
        v_marks := credits._audit_from(v_page.first, v_page.last, false);
        v_account_ids := v_account_ids || array(select m.account_id from unnest(v_marks) as m);
        return query
            select r.account_id, r.invariant, r.subject, r.expected, r.actual
            from usage._audit_records(v_marks) as r
            order by r.account_id, r.subject;
    end loop;
    return query
        select o.account_id, o.invariant, o.subject, o.expected, o.actual
        from usage._audit_orphans(
            coalesce(p_account_id, '00000000-0000-0000-0000-000000000000'),
            coalesce(p_account_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
            v_account_ids) as o
        order by o.account_id, o.subject;
end
$$;
grant execute on function usage.audit to exchequer_app;
