-- credits.settle_many: charge what was used on several accounts, where nothing speaks against it.
--
-- Takes up to 256 requests; request i is of account i. An account is decided here if nobody
-- holds it, nothing has come due or lapsed on it, it owes nothing, each request is of a pending
-- reservation of its own and charges something and not more than was reserved, the grant that
-- is drawn first covers all of them and is not used up, and no threshold is crossed. Then all
-- accounts are written by one statement. Of any other account nothing is written. Where
-- somebody holds it, its requests are answered BUSY and may be asked again; else no row is
-- answered: send them to credits.settle, which decides them one by one. The last row of an
-- account that is decided carries its balance.
--
-- How rows are found and written: see credits._lock.
--
-- locks     the accounts that nobody holds; waits for none
-- refuses   BUSY, for requests of an account that somebody holds
-- replays   nothing: what is settled is for credits.settle to answer
-- ends in   itself; credits.refund gives back
create or replace function credits.settle_many(
    p_account_ids uuid[],
    p_requests credits.settle_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint, settled_amount bigint, late boolean,
    version bigint, version_before bigint,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_free uuid[];
    v_held bigint[];
    v_now timestamptz;
begin
    select l.free, l.held into v_free, v_held
    from credits._lock_free(p_account_ids, cardinality(p_requests)) as l;
    -- Once, and after the locks, however the statement below is planned.
    v_now := core.clock();
    return query
    with asked as (
        select
            u.*,
            lag(u.reservation_id) over (
                partition by u.account_id order by u.reservation_id
            ) is not distinct from u.reservation_id as is_twin
        from unnest(p_account_ids, p_requests) with ordinality as u (
            account_id, reservation_id, charged, operation, asked_model,
            input_tokens, output_tokens, usage_estimated, cost_nanodollars, latency_ms,
            status_code, trace_id, occurred_at, actor, call_metadata, ordinal
        )
        where u.account_id = any (v_free)
    ),
    found as (
        select
            q.*,
            a.account_tid, a.version, a.available, a.reserved, a.overage, a.overdraft_limit,
            a.monthly, a.bonus, a.spent_total - a.spent_at_period_start as used,
            a.period_grant, a.period_start, a.period_end,
            a.low_balance_percent, a.minimum_charge, a.level,
            greatest(v_now, a.clock_at) as at,
            r.tid, r.amount as held, r.feature, r.quality, coalesce(q.asked_model, r.model) as model,
            r.price_version, r.end_customer_ref, r.related_type, r.related_id, r.related_name,
            coalesce((q.actor).kind, r.actor_kind) as actor_kind,
            coalesce((q.actor).id, r.actor_id) as actor_id,
            coalesce((q.actor).label, r.actor_label) as actor_label,
            coalesce(q.call_metadata, r.metadata) as metadata,
            row_number() over (partition by q.account_id order by q.ordinal) as place,
            (
                not q.is_twin
                and r.status = 'pending'
                and q.charged between 1 and r.amount
                and least(
                    0, q.input_tokens, q.output_tokens, q.cost_nanodollars, q.latency_ms) = 0
                and a.next_due_at > greatest(v_now, a.clock_at)
                and a.lapsed = 0
                and a.overage = 0
            ) is true as is_plain
        from asked as q
        cross join lateral (
            select a.ctid as account_tid, a.*
            from credits.accounts as a
            where a.account_id = q.account_id
            offset 0
        ) as a
        left join lateral (
            select r.ctid as tid, r.*
            from credits.reservations as r
            where r.account_id = q.account_id
                and r.id = q.reservation_id
                and (r.account_id, r.id) >= (q.account_id, q.reservation_id)
            offset 0
        ) as r on true
    ),
    plain as materialized (
        select
            p.*,
            p.version + p.place as settled_version,
            (p.available + p.held_upto - p.charged_upto)::bigint as available_after,
            (p.reserved - p.held_upto)::bigint as reserved_after,
            p.charged_sum::bigint as charged_total
        from (
            select
                f.*,
                sum(f.held) over upto as held_upto,
                sum(f.charged) over upto as charged_upto,
                sum(f.charged) over whole as charged_sum,
                count(*) over whole as places,
                bool_and(f.is_plain) over whole as are_plain,
                first_value(g.tid) over upto as grant_tid,
                first_value(g.id) over upto as grant_id,
                first_value(g.pool) over upto as pool,
                first_value(g.remaining) over upto as grant_remaining
            from found as f
            left join lateral (
                select g.ctid as tid, g.id, g.pool, g.remaining
                from credits.grants as g
                where f.place = 1
                    and g.account_id = f.account_id
                    and g.state = 'live'
                    and g.remaining > 0
                order by g.priority, g.expires_at nulls last, g.category = 'paid',
                    g.created_at, g.id
                limit 1
            ) as g on true
            window upto as (partition by f.account_id order by f.ordinal),
                whole as (
                    partition by f.account_id order by f.ordinal
                    rows between unbounded preceding and unbounded following)
        ) as p
        where p.are_plain
            and p.charged_sum < p.grant_remaining
            and p.level = credits._level(
                (p.available + p.reserved - p.charged_sum)::bigint, p.period_grant,
                p.low_balance_percent, p.overdraft_limit, p.minimum_charge)
    ),
    closed as (
        update credits.reservations as r
        set status = 'settled',
            settled_amount = p.charged,
            settled_version = p.settled_version,
            closed_version = p.settled_version,
            closed_at = p.at
        from plain as p
        where r.ctid = p.tid
    ),
    drawn as (
        update credits.grants as g
        set remaining = g.remaining - p.charged_total
        from plain as p
        where p.place = p.places and g.ctid = p.grant_tid
    ),
    booked as (
        insert into credits.transactions (
            account_id, version, type, operation, amount,
            available_after, reserved_after, overage_after, reservation_id, estimated,
            drawn_grant_ids, drawn_amounts,
            feature, quality, model, price_version, end_customer_ref,
            related_type, related_id, related_name,
            actor_kind, actor_id, actor_label, metadata, created_at
        )
        select
            p.account_id, p.settled_version, 'consumption', 'settle', -p.charged,
            p.available_after, p.reserved_after, p.overage, p.reservation_id, p.held,
            array[p.grant_id], array[p.charged],
            p.feature, p.quality, p.model, p.price_version, p.end_customer_ref,
            p.related_type, p.related_id, p.related_name,
            p.actor_kind, p.actor_id, p.actor_label, p.metadata, p.at
        from plain as p
    ),
    moved as (
        update credits.accounts as a
        set available = p.available_after,
            reserved = p.reserved_after,
            monthly = a.monthly - case when p.pool = 'monthly' then p.charged_total else 0 end,
            bonus = a.bonus - case when p.pool = 'bonus' then p.charged_total else 0 end,
            spent_total = a.spent_total + p.charged_total,
            version = a.version + p.places,
            clock_at = p.at
        from plain as p
        where p.place = p.places and a.ctid = p.account_tid
    ),
    recorded as materialized (
        select usage.record(
            array_agg(p.account_id order by p.ordinal),
            array_agg(row(
                p.reservation_id, p.settled_version, p.operation, p.feature, p.quality, p.model,
                p.price_version, p.input_tokens, p.output_tokens, p.usage_estimated,
                p.cost_nanodollars, p.charged, p.status_code, p.latency_ms, p.trace_id,
                p.end_customer_ref, p.call_metadata, coalesce(p.occurred_at, p.at), p.at
            )::usage.settled_call order by p.ordinal))
        from plain as p
    )
    select
        p.ordinal, 'OK', null::jsonb, false,
        p.reservation_id, 'settled', p.held::bigint, p.charged, false,
        p.settled_version, p.version,
        b.*
    from plain as p
    -- Read, so that it is done.
    cross join recorded
    left join lateral credits._figures(
        p.account_id, p.settled_version,
        p.available_after, p.reserved_after, p.overage, p.overdraft_limit,
        p.monthly - case when p.pool = 'monthly' then p.charged_total else 0 end,
        p.bonus - case when p.pool = 'bonus' then p.charged_total else 0 end,
        p.used + p.charged_total,
        p.period_grant, p.period_start, p.period_end
    ) as b on p.place = p.places
    order by p.ordinal;
    -- Of the others some are held: that is told by their places.
    outcome := 'BUSY';
    replayed := false;
    foreach ordinal in array v_held loop
        return next;
    end loop;
end
$$;
grant execute on function credits.settle_many to exchequer_app;
