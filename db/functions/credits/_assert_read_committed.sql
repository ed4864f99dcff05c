-- credits._assert_read_committed: what is read after a lock must be read under it.
create or replace function credits._assert_read_committed()
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'credits move only under read committed, not %',
            current_setting('transaction_isolation')
            using errcode = 'invalid_transaction_state';
    end if;
end
$$;
