-- credits._assert_current: nothing new happens to an account before what is due.
--
-- More fell due than one call may work. What is left has an earlier time than whatever
-- would be done now: credits.catch_up goes first.
create or replace function credits._assert_current(p_account credits.accounts)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
    if p_account.next_due_at <= p_account.clock_at then
        perform core.refuse('55P03');
    end if;
end
$$;
