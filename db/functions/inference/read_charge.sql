-- inference.read_charge: why a call of a model cost what it did.
--
-- Its tokens, the price or the rate it was charged by, what was reserved and drawn, each attempt.
-- `exact_amount` is before rounding. It and the rules of rounding are told where they still come to
-- what was charged: a project may have changed them since.
--
-- locks     nothing
-- refuses   NFOUN
-- replays   reads
-- ends in   itself
create or replace function inference.read_charge(p_account_id uuid, p_call_id uuid)
returns table (
    call_id uuid, state text, outcome text, feature text, quality text,
    multiplier_basis_points int, plan_key text, plan_version int, is_stream boolean,
    attempt int, model text, provider text, provider_model_id text, price_version int,
    input_nanodollars bigint, cached_input_nanodollars bigint, output_nanodollars bigint,
    credits_per_1k_tokens bigint,
    prompt_tokens int, input_tokens bigint, cached_input_tokens bigint, output_tokens bigint,
    usage_estimated boolean, cost_nanodollars bigint,
    exact_amount bigint, increment bigint, minimum_charge bigint, nanodollars_per_credit bigint,
    reserved_amount bigint, charged_amount bigint, refunded_amount bigint, overage bigint,
    version bigint, draws jsonb, attempts jsonb,
    end_customer_ref text, related_type text, related_id text, trace_id text, error text,
    status_code int, latency_ms int, opened_at timestamptz, closed_at timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_call inference.calls;
    v_reservation credits.reservations;
    v_ledger credits.transactions;
    v_policy credits.policies;
    v_price catalog.model_prices;
    v_cost bigint;
    v_exact numeric;
begin
    select c.* into v_call
    from inference.calls as c
    where c.account_id = p_account_id and c.id = p_call_id;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'charge', 'id', p_call_id));
    end if;
    select r.* into strict v_reservation
    from credits.reservations as r
    where r.account_id = p_account_id and r.id = p_call_id;
    select t.* into v_ledger
    from credits.transactions as t
    where t.account_id = p_account_id and t.version = v_reservation.settled_version;
    select p.* into strict v_policy
    from credits.policies as p
    where p.project_id = v_call.project_id;
    select p.* into v_price
    from catalog.model_prices as p
    where p.project_id = v_call.project_id and p.model_key = v_call.model
        and p.version = v_call.price_version;
    if v_reservation.settled_amount is not null then
        v_cost := inference._cost(v_call.project_id, v_call.model, v_call.price_version,
            v_call.input_tokens, v_call.cached_input_tokens, v_call.output_tokens);
        if inference._credits(v_call.project_id, v_call.credits_per_1k_tokens, v_cost,
            v_call.input_tokens + v_call.output_tokens) = v_reservation.settled_amount
        then
            v_exact := case
                when v_call.credits_per_1k_tokens is null
                    then v_cost::numeric * 1000000 / v_policy.nanodollars_per_credit
                else (v_call.input_tokens + v_call.output_tokens)::numeric
                    * v_call.credits_per_1k_tokens / 1000
            end;
        end if;
    end if;
    return query
    select
        v_call.id, v_call.state, v_call.outcome, v_call.feature, v_call.quality,
        (
            select q.multiplier_basis_points
            from catalog.quality_levels as q
            where q.project_id = v_call.project_id and q.key = v_call.quality
        ),
        v_call.plan_key, v_call.plan_version, v_call.is_stream,
        v_call.attempt, v_call.model, v_call.provider, v_call.provider_model_id,
        v_call.price_version, v_price.input_nanodollars, v_price.cached_input_nanodollars,
        v_price.output_nanodollars, v_call.credits_per_1k_tokens::bigint,
        v_call.prompt_tokens, v_call.input_tokens, v_call.cached_input_tokens,
        v_call.output_tokens, v_call.usage_estimated, v_cost,
        ceil(v_exact)::bigint,
        case when v_exact is not null then v_policy.increment::bigint end,
        case when v_exact is not null then v_policy.minimum_charge::bigint end,
        case when v_exact is not null then v_policy.nanodollars_per_credit end,
        v_reservation.amount::bigint, v_reservation.settled_amount::bigint,
        (
            select coalesce(sum(t.amount), 0)::bigint
            from credits.transactions as t
            where t.account_id = p_account_id and t.refund_of = v_ledger.version
                and t.type = 'refund'
        ),
        -- What no grant could pay is owed.
        greatest(0, -v_ledger.amount - (
            select coalesce(sum(d.amount), 0)
            from unnest(v_ledger.drawn_amounts) as d (amount)
        ))::bigint,
        v_ledger.version,
        (
            select coalesce(jsonb_agg(jsonb_build_object(
                'grant_id', d.grant_id, 'source', g.source, 'amount', d.amount,
                'expires_at', g.expires_at) order by d.place), '[]')
            from unnest(v_ledger.drawn_grant_ids, v_ledger.drawn_amounts) with ordinality
                as d (grant_id, amount, place)
            join credits.grants as g on g.account_id = p_account_id and g.id = d.grant_id
        ),
        (
            select coalesce(jsonb_agg(jsonb_build_object(
                'attempt', a.attempt, 'model', a.model, 'provider', a.provider,
                'error', a.error, 'status_code', a.status_code, 'asked_at', a.asked_at,
                'failed_at', a.failed_at) order by a.attempt), '[]')
            from inference.attempts as a
            where a.account_id = p_account_id and a.call_id = p_call_id
        ),
        v_call.end_customer_ref, v_call.related_type, v_call.related_id, v_call.trace_id,
        v_call.error, v_call.status_code, v_call.latency_ms, v_call.opened_at, v_call.closed_at;
end
$$;
grant execute on function inference.read_charge to exchequer_app;
