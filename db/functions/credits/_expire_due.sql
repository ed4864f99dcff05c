-- credits._expire_due: reservations of one account that are past their time expire.
--
-- Their credits return; debt is paid first. At most 100 a call: the sweep comes again.
-- Those that end after what is due next wait for it.
create or replace function credits._expire_due(p_account credits.accounts, p_upto timestamptz)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_upto timestamptz := least(p_upto, p_account.next_due_at);
    v_due record;
    v_paid bigint;
begin
    -- A step of the catch-up has a time of its own, and so has what it closes and lapses:
    -- what later steps write must not seem to come before.
    v_account.clock_at := v_upto;
    for v_due in
        select r.id, r.amount
        from credits.reservations as r
        where r.account_id = p_account.account_id
            and r.status = 'pending'
            and r.expires_at <= v_upto
        order by r.expires_at, r.id
        limit 100
    loop
        v_paid := least(v_account.overage, v_due.amount);
        v_account.version := v_account.version + 1;
        v_account.reserved := v_account.reserved - v_due.amount;
        v_account.overage := v_account.overage - v_paid;
        v_account.available := v_account.available + v_due.amount - v_paid;

        update credits.reservations as r
        set status = 'expired',
            closed_version = v_account.version,
            closed_at = v_account.clock_at
        where r.account_id = p_account.account_id and r.id = v_due.id;

        if v_account.lapsed > 0 then
            v_account := credits._lapse(v_account);
        end if;
    end loop;
    v_account.clock_at := p_account.clock_at;
    return v_account;
end
$$;
