-- inference.close_many: charge for calls of several accounts, where nothing speaks against it.
--
-- Takes up to 256 requests; request i is of account i. An account is decided here if nobody
-- holds it, its calls are there, and credits.settle_many charges for all of them. Of any other
-- account nothing is written. Where somebody holds it, its requests are answered BUSY and may
-- be asked again; else no row is answered: send them to inference.close, which decides them one
-- by one. The last row of an account that is decided carries its balance.
--
-- locks     the accounts that nobody holds, then the calls; waits for no account
-- refuses   BUSY, for requests of an account that somebody holds
-- replays   nothing: what is charged is for inference.close to answer
-- ends in   itself; credits.refund gives back
create or replace function inference.close_many(
    p_account_ids uuid[],
    p_requests inference.close_request[]
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
    v_ordinals bigint[];
    v_accounts uuid[];
    v_settles credits.settle_request[];
begin
    select l.free, l.held into v_free, v_held
    from credits._lock_free(p_account_ids, cardinality(p_requests)) as l;

    -- By the terms they began with. Found by nobody or nonsense, a request has no amount.
    select
        array_agg(u.ordinal order by u.ordinal),
        array_agg(u.account_id order by u.ordinal),
        array_agg(row(
            u.call_id,
            case
                when c.id is not null and inference._check_usage(
                    u.input_tokens, u.cached_input_tokens, u.output_tokens) is null
                then inference._credits(
                    c.project_id, c.credits_per_1k_tokens, c.cost,
                    u.input_tokens + u.output_tokens)
            end,
            'inference', c.model, u.input_tokens, u.output_tokens, u.usage_estimated,
            c.cost, u.latency_ms, u.status_code, c.trace_id, u.occurred_at, null, null
        )::credits.settle_request order by u.ordinal)
    into v_ordinals, v_accounts, v_settles
    from unnest(p_account_ids, p_requests) with ordinality as u (
        account_id, call_id, input_tokens, cached_input_tokens, output_tokens, usage_estimated,
        outcome, status_code, latency_ms, occurred_at, ordinal
    )
    left join lateral (
        select c.*, inference._cost(c.project_id, c.model, c.price_version,
            u.input_tokens, u.cached_input_tokens, u.output_tokens) as cost
        from inference.calls as c
        where c.account_id = u.account_id
            and c.id = u.call_id
            and (c.account_id, c.id) >= (u.account_id, u.call_id)
        offset 0
    ) as c on true
    where u.account_id = any (v_free);

    if v_ordinals is not null then
        return query
        with settled as materialized (
            select w.asked_ordinal, s.*
            from credits.settle_many(v_accounts, v_settles) as s
            join unnest(v_ordinals) with ordinality as w (asked_ordinal, place)
                on w.place = s.ordinal
            where s.outcome = 'OK'
        ),
        closed as (
            update inference.calls as c
            set state = 'settled',
                input_tokens = q.input_tokens,
                cached_input_tokens = q.cached_input_tokens,
                output_tokens = q.output_tokens,
                usage_estimated = q.usage_estimated,
                outcome = q.outcome,
                status_code = q.status_code,
                latency_ms = q.latency_ms,
                closed_at = core.clock()
            from settled as s
            cross join lateral (select (p_requests[s.asked_ordinal]).*) as q
            where c.account_id = p_account_ids[s.asked_ordinal]
                and c.id = q.call_id
                and (c.account_id, c.id) >= (p_account_ids[s.asked_ordinal], q.call_id)
        )
        select
            s.asked_ordinal, s.outcome, s.facts, s.replayed, s.reservation_id, s.status,
            s.amount, s.settled_amount, s.late, s.version, s.version_before,
            s.account_id, s.balance_version, s.available, s.reserved, s.spendable, s.overage,
            s.overdraft_limit, s.granted, s.monthly, s.bonus, s.used_this_period, s.remaining,
            s.total, s.usage_basis_points, s.period_grant, s.period_start, s.period_end
        from settled as s
        order by s.asked_ordinal;
    end if;

    -- Of the others some are held: that is told by their places.
    outcome := 'BUSY';
    replayed := false;
    foreach ordinal in array v_held loop
        return next;
    end loop;
end
$$;
grant execute on function inference.close_many to exchequer_app;
