-- credits._audit_read_extensions: the extensions that an audit looks at.
--
-- Those since the mark, and all earlier ones of the older reservations that the mark names.
-- Read as the ledger is: see credits._audit_read_ledger.
create or replace function credits._audit_read_extensions(p_marks credits.audit_marks[])
returns setof credits.reservation_extensions
language sql stable
as $$
    select e.*
    from pg_catalog.unnest(p_marks) as m
    cross join lateral (
        select e.*
        from credits.reservation_extensions as e
        where e.account_id = m.account_id and e.version > m.version
        offset 0
    ) as e
    union all
    select e.*
    from pg_catalog.unnest(p_marks) as m
    cross join lateral pg_catalog.unnest(m.reservation_ids) as i (id)
    cross join lateral (
        select e.*
        from credits.reservation_extensions as e
        where e.account_id = m.account_id
            and e.reservation_id = i.id
            and e.version <= m.version
        offset 0
    ) as e
$$;
