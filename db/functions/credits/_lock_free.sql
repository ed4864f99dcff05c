-- credits._lock_free: lock those of several accounts that nobody holds; answer which.
--
-- Nothing is waited for, so one account that is slow to be had does not keep the others, and
-- no order of locks can end in a deadlock. Who is locked elsewhere, or does not exist, is
-- left out: its requests are decided alone, by a function that waits.
create or replace function credits._lock_free(p_account_ids uuid[], p_requests int)
returns uuid[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    c_set_limit constant int := 256;
    c_accounts_limit constant int := 64;
    v_ids uuid[];
begin
    perform credits._assert_read_committed();
    perform credits._assert_set(p_requests, c_set_limit);
    if cardinality(p_account_ids) <> p_requests then
        raise exception 'each request has its account: % accounts for % requests',
            cardinality(p_account_ids), p_requests
            using errcode = 'invalid_parameter_value';
    end if;
    select array_agg(l.account_id) into v_ids
    from (
        select a.account_id
        from credits.accounts as a
        where a.account_id = any (p_account_ids)
        for no key update skip locked
    ) as l;
    if cardinality(v_ids) > c_accounts_limit then
        raise exception 'at most % accounts a call', c_accounts_limit
            using errcode = 'invalid_parameter_value';
    end if;
    return v_ids;
end
$$;
