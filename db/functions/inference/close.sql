-- inference.close: a call has been answered: charge for what was used, by the terms it began with.
--
-- Takes up to 256 requests for one account, decides each in turn. What is charged is computed
-- here, of tokens and of the price that stood when the model was asked.
--
-- locks     the account, then the calls
-- refuses   NOACC; as outcome: VALIDATION_ERROR, RESERVATION_NOT_FOUND, RESERVATION_SETTLED,
--           RESERVATION_RELEASED, SETTLE_AMOUNT_IMPLAUSIBLE, BALANCE_LIMIT, BUSY
-- replays   the same usage answers the first charge; another is refused with the one that won
-- ends in   itself; credits.refund gives back
create or replace function inference.close(
    p_account_id uuid,
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
begin
    perform credits._assert_set(cardinality(p_requests), 256);
    return query
    with asked as materialized (
        select
            u.*, c.id, c.model, c.project_id, c.credits_per_1k_tokens, c.trace_id,
            inference._check_usage(u.input_tokens, u.cached_input_tokens, u.output_tokens)
                as wrong,
            inference._cost(c.project_id, c.model, c.price_version,
                u.input_tokens, u.cached_input_tokens, u.output_tokens) as cost
        from unnest(p_requests) with ordinality as u (
            call_id, input_tokens, cached_input_tokens, output_tokens, usage_estimated,
            outcome, status_code, latency_ms, occurred_at, ordinal
        )
        left join inference.calls as c on c.account_id = p_account_id and c.id = u.call_id
    ),
    settled as materialized (
        select s.*
        from credits.settle(p_account_id, array(
            select row(
                a.id,
                case
                    -- Found by nobody, it is charged nothing.
                    when a.id is null then 0
                    -- Nonsense has no amount, and is refused for that.
                    when a.wrong is null then inference._credits(
                        a.project_id, a.credits_per_1k_tokens, a.cost,
                        a.input_tokens + a.output_tokens)
                end,
                'inference', a.model, a.input_tokens, a.output_tokens, a.usage_estimated,
                a.cost, a.latency_ms, a.status_code, a.trace_id, a.occurred_at, null, null
            )::credits.settle_request
            from asked as a
            order by a.ordinal
        )) as s
    ),
    closed as (
        update inference.calls as c
        set state = 'settled',
            input_tokens = n.input_tokens,
            cached_input_tokens = n.cached_input_tokens,
            output_tokens = n.output_tokens,
            usage_estimated = n.usage_estimated,
            outcome = n.outcome,
            status_code = n.status_code,
            latency_ms = n.latency_ms,
            closed_at = core.clock()
        from (
            select distinct on (a.id) a.*
            from settled as s
            join asked as a using (ordinal)
            where s.outcome = 'OK' and not s.replayed
            order by a.id, a.ordinal
        ) as n
        where c.account_id = p_account_id and c.id = n.id
    ),
    -- What was ended otherwise has ended: nobody need look for it any more.
    ended as (
        update inference.calls as c
        set state = case s.outcome
                when 'RESERVATION_SETTLED' then 'settled' else 'released'
            end,
            outcome = coalesce(c.outcome, 'abandoned'),
            closed_at = core.clock()
        from settled as s
        join asked as a using (ordinal)
        where s.outcome in ('RESERVATION_SETTLED', 'RESERVATION_RELEASED')
            and c.account_id = p_account_id and c.id = a.id
            and c.state in ('open', 'answered')
    )
    select
        s.ordinal, s.outcome, coalesce(a.wrong, inference._told(s.facts, a.call_id)), s.replayed, s.reservation_id, s.status,
        s.amount, s.settled_amount, s.late, s.version, s.version_before,
        s.account_id, s.balance_version, s.available, s.reserved, s.spendable, s.overage,
        s.overdraft_limit, s.granted, s.monthly, s.bonus, s.used_this_period, s.remaining,
        s.total, s.usage_basis_points, s.period_grant, s.period_start, s.period_end
    from settled as s
    join asked as a using (ordinal)
    order by s.ordinal;
end
$$;
grant execute on function inference.close to exchequer_app;
