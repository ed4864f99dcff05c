-- credits._audit_pages: one account, or all of them in pages of a thousand, by their ids.
create or replace function credits._audit_pages(p_account_id uuid)
returns table (first uuid, last uuid)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select p.ids[1], p.ids[cardinality(p.ids)]
    from (
        select array_agg(a.account_id order by a.account_id) as ids
        from (
            select a.account_id, (row_number() over (order by a.account_id) - 1) / 1000 as page
            from credits.accounts as a
            where p_account_id is null or a.account_id = p_account_id
        ) as a
        group by a.page
        order by a.page
    ) as p
$$;
