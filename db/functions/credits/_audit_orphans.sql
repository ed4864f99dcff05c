-- credits._audit_orphans: no row without its account.
--
-- One finding for each table and account: the first such row, and how many there are.
create or replace function credits._audit_orphans(p_first uuid, p_last uuid)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select o.account_id, 'orphan', o.first, 'a row in credits.accounts',
        format('none, for %s such rows', o.rows)
    from (
        select t.account_id, 'transaction ' || min(t.version) as first, count(*) as rows
        from credits.transactions as t
        where t.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = t.account_id
            )
        group by t.account_id
        union all
        select c.account_id, 'change ' || min(c.version), count(*)
        from credits.account_changes as c
        where c.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = c.account_id
            )
        group by c.account_id
        union all
        select e.account_id, 'extension ' || min(e.version), count(*)
        from credits.reservation_extensions as e
        where e.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = e.account_id
            )
        group by e.account_id
        union all
        select r.account_id, 'reservation ' || min(r.id::text), count(*)
        from credits.reservations as r
        where r.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = r.account_id
            )
        group by r.account_id
        union all
        select g.account_id, 'grant ' || min(g.id::text), count(*)
        from credits.grants as g
        where g.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = g.account_id
            )
        group by g.account_id
        union all
        select v.account_id, 'void ' || min(v.idempotency_key), count(*)
        from credits.grant_voids as v
        where v.account_id between p_first and p_last
            and not exists (
                select from credits.accounts as a where a.account_id = v.account_id
            )
        group by v.account_id
    ) as o;
end
$$;
