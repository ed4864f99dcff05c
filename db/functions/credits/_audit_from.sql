-- credits._audit_from: what an audit of some accounts goes on from, each account its own.
--
-- Since the last audit: from the account's mark, unless the account is to the letter what it
-- was then, and is left out. Otherwise, and where there is no mark or it is doubted, from
-- nothing: a mark before every version, with no figures and no rows; of a doubt it tells,
-- for whoever finds nothing then.
create or replace function credits._audit_from(
    p_first uuid, p_last uuid, p_since_last boolean
)
returns credits.audit_marks[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_moved record;
    v_mark credits.audit_marks;
    v_marks credits.audit_marks[];
begin
    for v_moved in
        select m as mark, m.account_id is not null as is_marked, m.doubted_at,
            a.account_id, a.version
        from credits.accounts as a
        left join credits.audit_marks as m on m.account_id = a.account_id
        where a.account_id between p_first and p_last
            and (
                not p_since_last
                or m.doubted_at is not null
                or m.account_hash is distinct from hash_record_extended(a, 0)
            )
        order by a.account_id
    loop
        if p_since_last and v_moved.is_marked and v_moved.doubted_at is null then
            v_mark := credits._audit_from_older(v_moved.mark, v_moved.version);
        else
            v_mark := credits._audit_from_nothing(v_moved.account_id);
            v_mark.doubted_at := v_moved.doubted_at;
        end if;
        v_marks := v_marks || v_mark;
    end loop;
    return v_marks;
end
$$;

create or replace function credits._audit_from_nothing(p_account_id uuid)
returns credits.audit_marks
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select row(
        p_account_id, -9223372036854775808, 0, null, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, null, 0, 0,
        '00000000-0000-0000-0000-000000000000', '{}', '{}', '{}', '{}', null, null
    )::credits.audit_marks
$$;

-- To the reservations that were open at the mark come those that were opened before it and of
-- which newer rows tell. Later ones are found by their ids, of the server's clock. Where the
-- versions since the mark are not all found so, all the account's reservations are looked
-- through: one had expired and was settled for nothing, a clock was put back, a row is gone.
create or replace function credits._audit_from_older(
    p_mark credits.audit_marks, p_version bigint
)
returns credits.audit_marks
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_mark credits.audit_marks := p_mark;
begin
    v_mark.reservation_ids := array(
        select i.id from unnest(p_mark.reservation_ids) as i (id)
        union
        select t.reservation_id
        from credits.transactions as t
        where t.account_id = p_mark.account_id
            and t.version > p_mark.version
            and t.reservation_id < p_mark.first_id
        union
        select e.reservation_id
        from credits.reservation_extensions as e
        where e.account_id = p_mark.account_id
            and e.version > p_mark.version
            and e.reservation_id < p_mark.first_id
        union
        select r.id
        from credits.reservations as r
        where r.account_id = p_mark.account_id
            and r.id >= p_mark.first_id
            and r.opened_version <= p_mark.version
            and greatest(r.closed_version, r.settled_version) > p_mark.version
    );
    if p_version - p_mark.version::numeric > (
        select count(distinct f.version)
        from (
            select t.version
            from credits.transactions as t
            where t.account_id = p_mark.account_id and t.version > p_mark.version
            union all
            select e.version
            from credits.reservation_extensions as e
            where e.account_id = p_mark.account_id and e.version > p_mark.version
            union all
            select c.version
            from credits.account_changes as c
            where c.account_id = p_mark.account_id and c.version > p_mark.version
            union all
            select v.version
            from credits._audit_read_reservations(array[v_mark]) as r
            cross join lateral (
                values (r.opened_version), (r.closed_version), (r.settled_version)
            ) as v (version)
            where v.version > p_mark.version
        ) as f
    ) then
        v_mark.reservation_ids := array(
            select i.id from unnest(v_mark.reservation_ids) as i (id)
            union
            select r.id
            from credits.reservations as r
            where r.account_id = p_mark.account_id
                and greatest(r.opened_version, r.closed_version, r.settled_version)
                    > p_mark.version
        );
    end if;
    return v_mark;
end
$$;
