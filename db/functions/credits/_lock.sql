-- credits._lock: lock one account, read the clock, and bring the account up to date.
--
-- Every function that writes begins here. The lock is a statement of its own, so
-- that everything read after it is read under it; a balance checked in the same
-- statement as the lock oversells. NO KEY, because the tables that refer to the
-- account take a key lock on it: with FOR UPDATE they would deadlock.
--
-- The clock is read after the lock, since the wait may have been long, and never
-- runs backwards for one account.
--
-- One call works only so much of what is due. Where more is left, nothing new is decided:
-- it has an earlier time than anything done now. Functions of sets then say BUSY for each
-- request, functions of one request answer no row; what was worked is kept either way, so
-- asking again gets there.
--
-- A reservation is found by the two columns of a key, whatever the planner believes. It plans
-- once for a connection, perhaps while the table is empty or every account has one row; then
-- an index of which only the account serves looks as good, and a hot account is read whole.
-- So lookups stand in lateral subqueries (`offset 0`: nothing else is joined first), repeat
-- the key as a row comparison (only its own index serves that whole, any other is dearer),
-- and rows are written where they were found (`ctid`: under this lock nobody moves them).
create or replace function credits._lock(p_account_id uuid)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts;
begin
    perform credits._assert_read_committed();
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id
    for no key update;
    if not found then
        perform core.refuse('NOACC', jsonb_build_object('accountId', p_account_id));
    end if;

    v_account.clock_at := greatest(core.clock(), v_account.clock_at);
    if v_account.next_due_at <= v_account.clock_at then
        v_account := credits._catch_up(v_account);
    end if;
    return v_account;
end
$$;
