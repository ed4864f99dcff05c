-- credits._expire_due: reservations of one account that are past their time expire.
--
-- Their credits return; debt is paid first. At most 1,000 a call, as one statement: the
-- caller comes again. Those that end after what is due next wait for it.
create or replace function credits._expire_due(p_account credits.accounts, p_upto timestamptz)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_upto timestamptz := least(p_upto, p_account.next_due_at);
    v_count bigint;
    v_amount bigint;
    v_paid bigint;
begin
    with due as (
        select r.id, row_number() over (order by r.expires_at, r.id) as place
        from credits.reservations as r
        where r.account_id = p_account.account_id
            and r.status = 'pending'
            and r.expires_at <= v_upto
        order by r.expires_at, r.id
        limit 1000
    ),
    closed as (
        update credits.reservations as r
        set status = 'expired',
            closed_version = p_account.version + d.place,
            closed_at = v_upto
        from due as d
        where r.account_id = p_account.account_id and r.id = d.id
        returning r.amount
    )
    select count(*), coalesce(sum(c.amount), 0) into v_count, v_amount from closed as c;
    if v_count = 0 then
        return v_account;
    end if;

    v_paid := least(v_account.overage, v_amount);
    v_account.version := v_account.version + v_count;
    v_account.reserved := v_account.reserved - v_amount;
    v_account.overage := v_account.overage - v_paid;
    v_account.available := v_account.available + v_amount - v_paid;
    if v_account.lapsed > 0 then
        -- A step of the catch-up has a time of its own, and so has what it lapses: what
        -- later steps write must not seem to come before.
        v_account.clock_at := v_upto;
        v_account := credits._lapse(v_account);
        v_account.clock_at := p_account.clock_at;
    end if;
    return v_account;
end
$$;

-- All of them, as of now: whoever decides by what is reserved looks here first. Bounded all
-- the same: 10,000 a call.
create or replace function credits._sweep(p_account credits.accounts)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_version bigint;
begin
    for v_round in 1..10 loop
        v_version := v_account.version;
        v_account := credits._expire_due(v_account, v_account.clock_at);
        exit when v_account.version - v_version < 1000;
    end loop;
    return v_account;
end
$$;
