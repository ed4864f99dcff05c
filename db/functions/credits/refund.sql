-- credits.refund: give back what a call was charged, as new grants.
--
-- Of the category of what was drawn, the last drawn first, ending at the later of the
-- old expiry and 30 days from now. What no grant had covered was paid by the first that
-- arrived after it and paid debt; if none has, it is promotional, for 30 days. The refunds of one consumption never exceed what it was charged. Used credits
-- stay used: a refund does not rewrite the period.
--
-- locks     the account
-- refuses   NOACC, XINPT, NOTXN, NORSV, XREFD, IDEMX, XLIMT
-- replays   the same key and request answer the same grants
-- ends in   credits.settle, credits.void_grant, or its expiry
create or replace function credits.refund(
    p_account_id uuid,
    p_idempotency_key text,
    p_reservation_id uuid default null,
    p_version bigint default null,
    p_amount bigint default null,
    p_reason text default null,
    p_actor credits.actor default null
)
returns table (
    refunded_version bigint, amount bigint, refundable bigint, grant_ids uuid[],
    replayed boolean, version bigint, version_before bigint,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_account credits.accounts;
    v_version_before bigint;
    v_of credits.transactions;
    v_refunded bigint;
    v_amount bigint;
    v_grant_ids uuid[];
    v_version bigint;
    v_seen bytea;
    v_part record;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_reservation_id, p_version, p_amount));
begin
    perform credits._check_key(p_idempotency_key);
    if p_amount is not null then
        perform credits._check_amount(p_amount);
    end if;
    if num_nonnulls(p_reservation_id, p_version) <> 1 then
        perform credits._invalid('reservationId', 'name the reservation or the transaction');
    end if;
    v_account := credits._lock(p_account_id);
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;

    select t.* into v_of
    from credits.transactions as t
    where t.account_id = p_account_id
        and t.type = 'consumption'
        and t.version = coalesce(p_version, (
            select r.settled_version
            from credits.reservations as r
            where r.account_id = p_account_id and r.id = p_reservation_id));
    if not found and p_version is null then
        if exists (
            select from credits.reservations as r
            where r.account_id = p_account_id and r.id = p_reservation_id
        ) then
            -- Pending, given back, or settled for nothing: there is nothing to refund.
            perform core.refuse('XREFD', jsonb_build_object(
                'requested', coalesce(p_amount, 0), 'refundable', 0));
        end if;
        perform core.refuse('NORSV', jsonb_build_object('reservationId', p_reservation_id));
    elsif not found then
        perform core.refuse('NOTXN', jsonb_build_object('version', p_version));
    end if;

    select
        coalesce(sum(g.amount), 0)::bigint,
        sum(g.amount) filter (where g.idempotency_key = p_idempotency_key)::bigint
    into v_refunded, v_amount
    from credits.grants as g
    where g.account_id = p_account_id and g.refund_of = v_of.version;
    select (array_agg(g.fingerprint))[1], array_agg(g.id order by g.version), max(g.version)
    into v_seen, v_grant_ids, v_version
    from credits.grants as g
    where g.account_id = p_account_id
        and g.operation = 'refund' and g.idempotency_key = p_idempotency_key;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null then
        v_amount := coalesce(p_amount, -v_of.amount - v_refunded);
        if v_amount > -v_of.amount - v_refunded or v_amount = 0 then
            perform core.refuse('XREFD', jsonb_build_object(
                'requested', coalesce(p_amount, -v_of.amount),
                'refundable', -v_of.amount - v_refunded));
        end if;
        for v_part in
            select p.*
            from credits._refund_parts(v_of, v_refunded, v_amount) as p
        loop
            v_account := credits._give(
                v_account, 'refund', 'refund', v_part.category, 50, v_part.amount,
                v_account.clock_at,
                case when v_part.expires_at is not null then
                    greatest(v_part.expires_at, v_account.clock_at + interval '30 days') end,
                p_idempotency_key, v_fingerprint, null, v_of.version, p_reason, p_actor);
        end loop;
        select array_agg(g.id order by g.version), max(g.version) into v_grant_ids, v_version
        from credits.grants as g
        where g.account_id = p_account_id
            and g.operation = 'refund' and g.idempotency_key = p_idempotency_key;
        v_refunded := v_refunded + v_amount;
    end if;
    perform credits._save(v_account);
    return query
        select v_of.version, v_amount, -v_of.amount - v_refunded, v_grant_ids,
            v_seen is not null, v_version, v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;

-- Which categories the next part of a refund falls into, and how long each lasted:
-- counted from the last credit drawn backwards, past what was refunded before. An end of
-- -infinity is none of its own: the 30 days of every refund apply.
create or replace function credits._refund_parts(
    p_of credits.transactions,
    p_refunded bigint,
    p_amount bigint
)
returns table (category text, amount bigint, expires_at timestamptz)
language sql stable set search_path = pg_catalog, pg_temp
as $$
    with drawn as (
        select d.grant_id, d.amount, d.n
        from unnest(p_of.drawn_grant_ids, p_of.drawn_amounts)
            with ordinality as d (grant_id, amount, n)
        union all
        select
            null,
            -p_of.amount - coalesce(
                (select sum(d.amount) from unnest(p_of.drawn_amounts) as d (amount)), 0)::bigint,
            1000000
    ),
    line as (
        select d.grant_id, d.amount, sum(d.amount) over (order by d.n desc) as upto
        from drawn as d
    ),
    taken as (
        select
            l.grant_id,
            (least(l.upto, p_refunded + p_amount)
                - greatest(l.upto - l.amount, p_refunded))::bigint as amount
        from line as l
    )
    select
        coalesce(g.category, 'promotional'),
        sum(t.amount)::bigint,
        case when bool_and(g.expires_at is not null or g.id is null)
            then coalesce(max(g.expires_at), '-infinity') end
    from taken as t
    left join lateral (
        select b.grant_id
        from credits.transactions as b
        where t.grant_id is null
            and b.account_id = p_of.account_id
            and b.version > p_of.version
            and b.amount > 0
            and b.drawn_grant_ids is not null
        order by b.version
        limit 1
    ) as payer on true
    left join credits.grants as g
        on g.account_id = p_of.account_id and g.id = coalesce(t.grant_id, payer.grant_id)
    where t.amount > 0
    group by 1
    order by 1
$$;
grant execute on function credits.refund to exchequer_app;
