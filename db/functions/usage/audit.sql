-- usage.audit: prove that everything settled has one usage record, of the same credits.
--
-- And every record its settle. What was settled is asked of credits: usage reads its own
-- table only. No row means that the records are complete.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself; credits.audit is the other half
create or replace function usage.audit(p_account_id uuid default null)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
set plan_cache_mode = 'force_custom_plan' set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
    return query
    with recorded as (
        select
            u.account_id, u.id, u.version, u.credits, u.reservation_id,
            row_number() over (partition by u.account_id, u.version order by u.id) as place
        from usage.records as u
        where p_account_id is null or u.account_id = p_account_id
    )
    select
        coalesce(s.account_id, r.account_id) as account_id,
        'usage',
        case
            when r.id is not null then 'record ' || r.id
            when s.amount = 0 then 'reservation ' || s.reservation_id
            else 'transaction ' || s.version
        end as subject,
        case when s.version is null
            then format('a settle or deduction of its own at version %s', r.version)
            else format('%s micro-credits at version %s%s', s.amount, s.version,
                ' for reservation ' || s.reservation_id) end,
        case when r.id is null or s.version is null then 'none'
            else format('%s micro-credits at version %s%s', r.credits, r.version,
                ' for reservation ' || r.reservation_id) end
    from credits.settled_amounts(p_account_id) as s
    full join recorded as r
        on r.account_id = s.account_id and r.version = s.version and r.place = 1
    where (
            r.credits = s.amount
            and r.reservation_id is not distinct from s.reservation_id
        ) is not true
    order by 1, 3;
end
$$;
grant execute on function usage.audit to exchequer_app;
