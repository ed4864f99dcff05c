-- usage._audit_records: what was settled since the marks against its usage records.
--
-- Records made since are found by their ids, which are of the server's clock; where one is
-- missing so, all of the account's are looked through.
create or replace function usage._audit_records(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable strict set search_path = pg_catalog, pg_temp
set plan_cache_mode = 'force_custom_plan' set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
    return query
    with settled as materialized (
        select s.* from credits.settled_amounts(p_marks) as s
    ),
    recent as materialized (
        select u.account_id, u.id, u.version, u.credits, u.reservation_id
        from unnest(p_marks) as m
        cross join lateral (
            select u.account_id, u.id, u.version, u.credits, u.reservation_id
            from usage.records as u
            where u.account_id = m.account_id and u.id >= m.first_id and u.version > m.version
            -- Account by account: see credits._audit_read_ledger.
            offset 0
        ) as u
    ),
    short as (
        select m.account_id, m.version, m.first_id
        from unnest(p_marks) as m
        join (
            select s.account_id, count(*) as rows from settled as s group by s.account_id
        ) as s on s.account_id = m.account_id
        left join (
            select r.account_id, count(*) as rows from recent as r group by r.account_id
        ) as r on r.account_id = m.account_id
        where m.marked_at is not null and s.rows > coalesce(r.rows, 0)
    ),
    recorded as (
        select
            u.*,
            row_number() over (partition by u.account_id, u.version order by u.id) as place
        from (
            select r.* from recent as r
            union all
            select u.account_id, u.id, u.version, u.credits, u.reservation_id
            from short as m
            join usage.records as u
                on u.account_id = m.account_id and u.id < m.first_id and u.version > m.version
        ) as u
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
    from settled as s
    full join recorded as r
        on r.account_id = s.account_id and r.version = s.version and r.place = 1
    where (
            r.credits = s.amount
            and r.reservation_id is not distinct from s.reservation_id
        ) is not true;
end
$$;
