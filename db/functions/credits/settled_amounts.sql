-- credits.settled_amounts: every settle and deduction, under its version, with its amount.
--
-- For usage.audit, which may not read the tables of credits. A settle of nothing has no
-- ledger row, but was settled: it stands here with zero.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   usage.audit
create or replace function credits.settled_amounts(p_account_id uuid default null)
returns table (account_id uuid, version bigint, amount bigint, reservation_id uuid)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = 'force_custom_plan'
as $$
#variable_conflict use_column
begin
    return query
    select t.account_id, t.version, -t.amount::bigint, t.reservation_id
    from credits.transactions as t
    where t.type = 'consumption' and (p_account_id is null or t.account_id = p_account_id)
    union all
    select r.account_id, r.settled_version, 0::bigint, r.id
    from credits.reservations as r
    where r.settled_amount = 0 and (p_account_id is null or r.account_id = p_account_id);
end
$$;
