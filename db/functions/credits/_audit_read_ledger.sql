-- credits._audit_read_ledger: the ledger rows that an audit looks at: those since the marks.
--
-- Account by account, each from its mark on: `offset 0` keeps Postgres from reading the whole
-- ledger for the few rows of many accounts, of whose number it knows nothing. Without settings
-- of its own, so that it is planned within the queries of its callers.
create or replace function credits._audit_read_ledger(p_marks credits.audit_marks[])
returns setof credits.transactions
language sql stable
as $$
    select t.*
    from pg_catalog.unnest(p_marks) as m
    cross join lateral (
        select t.*
        from credits.transactions as t
        where t.account_id = m.account_id and t.version > m.version
        offset 0
    ) as t
$$;
