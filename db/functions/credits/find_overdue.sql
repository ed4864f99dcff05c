-- credits.find_overdue: accounts that wait for the sweep, without locking any.
--
-- `expired`: an open reservation is past its time. `due`: a grant, a period or an
-- allowance has fallen due. The sweep then calls the function of each account.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   credits.expire_reservations, credits.catch_up
create or replace function credits.find_overdue(p_limit int default 100)
returns table (account_id uuid, due boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    (
        select r.account_id, false
        from credits.reservations as r
        where r.status = 'pending' and r.expires_at <= core.clock()
        group by r.account_id
        order by min(r.expires_at)
        limit p_limit
    )
    union all
    (
        select a.account_id, true
        from credits.accounts as a
        where a.next_due_at <= core.clock()
        order by a.next_due_at
        limit p_limit
    )
$$;
grant execute on function credits.find_overdue to exchequer_app;
