-- credits._expire_grants: grants that end at an instant expire, but for what is held.
--
-- Reservations opened before that instant hold the first credits of the line, as they were
-- then: what is left of lapsed grants, then the live ones in draw-down order. Of each grant
-- they keep what those before it do not cover; it lapses with that. All in one statement,
-- one ledger row for each grant: nobody waits longer for more grants than they take to write.
create or replace function credits._expire_grants(p_account credits.accounts, p_at timestamptz)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_net bigint := p_account.available - p_account.overage;
    v_held bigint;
    v_expired record;
begin
    if not exists (
        select from credits.grants as g
        where g.account_id = p_account.account_id and g.state = 'live' and g.expires_at <= p_at
    ) then
        return v_account;
    end if;
    v_held := credits._held(p_account.account_id, p_at);

    with line as (
        select
            g.id, g.pool, g.state, g.expires_at, g.remaining,
            row_number() over line as place,
            sum(g.remaining) over line - g.remaining as ahead
        from credits.grants as g
        where g.account_id = p_account.account_id and g.state in ('live', 'lapsed')
        window line as (
            order by
                g.state = 'live',
                case when g.state = 'lapsed' then g.expires_at end,
                g.priority, g.expires_at nulls last, g.category = 'paid', g.created_at, g.id
        )
    ),
    due as (
        select
            l.id, l.pool, l.place, l.remaining,
            greatest(0, least(l.remaining, v_held - l.ahead))::bigint as keep
        from line as l
        where l.state = 'live' and l.expires_at <= p_at
    ),
    expired as (
        select
            d.id,
            d.pool,
            d.remaining - d.keep as amount,
            row_number() over upto as nth,
            (sum(d.remaining - d.keep) over upto)::bigint as upto
        from due as d
        where d.remaining > d.keep
        window upto as (order by d.place)
    ),
    changed as (
        update credits.grants as g
        set remaining = d.keep,
            forfeited = g.forfeited + d.remaining - d.keep,
            state = case when d.keep > 0 then 'lapsed' else 'closed' end
        from due as d
        where g.account_id = p_account.account_id and g.id = d.id
    ),
    booked as (
        insert into credits.transactions (
            account_id, version, type, operation, amount,
            available_after, reserved_after, overage_after, grant_id,
            drawn_grant_ids, drawn_amounts, created_at
        )
        select
            p_account.account_id, p_account.version + e.nth, 'expiration', 'expire_grant',
            -e.amount, greatest(0, v_net - e.upto), p_account.reserved,
            greatest(0, e.upto - v_net), e.id, array[e.id], array[e.amount], p_at
        from expired as e
    )
    select
        (select count(*) from expired) as count,
        coalesce((select sum(e.amount) from expired as e), 0)::bigint as amount,
        coalesce((select sum(e.amount) from expired as e where e.pool = 'monthly'), 0)::bigint
            as monthly,
        coalesce((select sum(d.keep) from due as d), 0)::bigint as kept
    into v_expired;

    v_account.version := v_account.version + v_expired.count;
    v_account.available := greatest(0, v_net - v_expired.amount);
    v_account.overage := greatest(0, v_expired.amount - v_net);
    v_account.expired_total := v_account.expired_total + v_expired.amount;
    v_account.monthly := v_account.monthly - v_expired.monthly;
    v_account.bonus := v_account.bonus - (v_expired.amount - v_expired.monthly);
    v_account.lapsed := v_account.lapsed + v_expired.kept;
    return v_account;
end
$$;
