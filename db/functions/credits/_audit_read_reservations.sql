-- credits._audit_read_reservations: the reservations that an audit looks at.
--
-- Those of which something happened since the mark, as far as their ids tell that they were
-- made since, and the older ones that the mark names. Read as the ledger is: see
-- credits._audit_read_ledger.
create or replace function credits._audit_read_reservations(p_marks credits.audit_marks[])
returns setof credits.reservations
language sql stable
as $$
    select r.*
    from pg_catalog.unnest(p_marks) as m
    cross join lateral (
        select r.*
        from credits.reservations as r
        where r.account_id = m.account_id
            and r.id >= m.first_id
            and greatest(r.opened_version, r.closed_version, r.settled_version) > m.version
        offset 0
    ) as r
    union all
    select r.*
    from pg_catalog.unnest(p_marks) as m
    cross join lateral pg_catalog.unnest(m.reservation_ids) as i (id)
    cross join lateral (
        select r.*
        from credits.reservations as r
        where r.account_id = m.account_id
            and r.id = i.id
            and not (
                r.id >= m.first_id
                and greatest(r.opened_version, r.closed_version, r.settled_version) > m.version
            )
        offset 0
    ) as r
$$;
