-- credits.settled_amounts: every settle and deduction, under its version, with its amount.
--
-- For usage.audit, which may not read the tables of credits; of some accounts, since their
-- marks. A settle of nothing has no ledger row, but was settled: it stands here with zero.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   usage.audit
create or replace function credits.settled_amounts(p_marks credits.audit_marks[])
returns table (account_id uuid, version bigint, amount bigint, reservation_id uuid)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = 'force_custom_plan'
as $$
#variable_conflict use_column
begin
    return query
    select t.account_id, t.version, -t.amount::bigint, t.reservation_id
    from credits._audit_read_ledger(p_marks) as t
    where t.type = 'consumption'
    union all
    select r.account_id, r.settled_version, 0::bigint, r.id
    from unnest(p_marks) as m
    join credits._audit_read_reservations(p_marks) as r on r.account_id = m.account_id
    where r.settled_amount = 0 and r.settled_version > m.version;
end
$$;
