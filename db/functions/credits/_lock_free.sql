-- credits._lock_free: lock those of several accounts that nobody holds; answer which.
--
-- Nothing is waited for, so one account that is slow to be had does not keep the others, and
-- no order of locks can end in a deadlock. Who does not exist is left out. Of who is locked
-- elsewhere the requests are told, by their places: they may be asked again.
create or replace function credits._lock_free(
    p_account_ids uuid[], p_requests int, out free uuid[], out held bigint[]
)
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    c_set_limit constant int := 256;
begin
    perform credits._assert_read_committed();
    perform credits._assert_set(p_requests, c_set_limit);
    if cardinality(p_account_ids) <> p_requests then
        raise exception 'each request has its account: % accounts for % requests',
            cardinality(p_account_ids), p_requests
            using errcode = 'invalid_parameter_value';
    end if;
    free := array(
        select a.account_id
        from credits.accounts as a
        where a.account_id = any (p_account_ids)
        for no key update skip locked
    );
    held := array[]::bigint[];
    if cardinality(free) < p_requests then
        held := array(
            select u.place
            from unnest(p_account_ids) with ordinality as u (account_id, place)
            where u.account_id <> all (free)
                and exists (select from credits.accounts as a where a.account_id = u.account_id)
            order by u.place
        );
    end if;
end
$$;
