-- inference.fall_back: an attempt failed: note it, and ask another model, or the same once more.
--
-- The reservation stays the same one. It is raised where the next model is dearer; if there are
-- no credits for that, this model is not asked.
--
-- locks     the account, then the call
-- refuses   NOACC, NORSV (no such call, or it is not open); as outcome: INSUFFICIENT_CREDITS,
--           BUSY and what else credits.extend answers
-- replays   nothing: each attempt is a row
-- ends in   inference.close or inference.give_back
create or replace function inference.fall_back(
    p_account_id uuid, p_call_id uuid, p_attempt int,
    p_model text, p_error text, p_status_code int default null
)
returns table (
    outcome text, facts jsonb, attempt int, model text, provider text,
    provider_model_id text, price_version int,
    output_limit int, reserved_tokens bigint, amount bigint, version_before bigint,
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
    v_call inference.calls;
    v_terms inference.terms;
    v_extended record;
begin
    perform credits._lock(p_account_id);
    select c.* into v_call
    from inference.calls as c
    where c.account_id = p_account_id and c.id = p_call_id
    for no key update;
    if v_call.state is distinct from 'open' or v_call.attempt <> p_attempt then
        perform core.refuse('NORSV', jsonb_build_object('reservationId', p_call_id));
    end if;
    v_terms.project_id := v_call.project_id;
    v_terms := inference._priced(
        v_terms, p_model, v_call.prompt_tokens, v_call.output_limit / v_call.choices,
        v_call.choices, v_call.reserved_tokens::int);
    select e.* into strict v_extended
    from credits.extend(
        p_account_id, array[row(p_call_id, v_terms.amount, null)::credits.extend_request]
    ) as e;
    if v_extended.outcome = 'OK' then
        insert into inference.attempts (
            account_id, call_id, attempt, model, provider, provider_model_id, price_version,
            credits_per_1k_tokens, asked_at, failed_at, error, status_code
        ) values (
            p_account_id, p_call_id, v_call.attempt, v_call.model, v_call.provider,
            v_call.provider_model_id, v_call.price_version, v_call.credits_per_1k_tokens, v_call.asked_at, core.clock(),
            p_error, p_status_code
        );
        update inference.calls as c
        set attempt = c.attempt + 1,
            model = v_terms.model,
            provider = v_terms.provider,
            provider_model_id = v_terms.provider_model_id,
            price_version = v_terms.price_version,
            credits_per_1k_tokens = v_terms.credits_per_1k_tokens,
            output_limit = v_terms.output_limit,
            reserved_tokens = v_terms.reserved_tokens,
            asked_at = core.clock()
        where c.account_id = p_account_id and c.id = p_call_id
        returning c.* into v_call;
    end if;
    return query select
        v_extended.outcome, v_extended.facts, v_call.attempt, v_call.model, v_call.provider,
        v_call.provider_model_id, v_call.price_version, v_call.output_limit, v_call.reserved_tokens, v_extended.amount,
        v_extended.version_before,
        v_extended.account_id, v_extended.balance_version, v_extended.available,
        v_extended.reserved, v_extended.spendable, v_extended.overage,
        v_extended.overdraft_limit, v_extended.granted, v_extended.monthly, v_extended.bonus,
        v_extended.used_this_period, v_extended.remaining, v_extended.total,
        v_extended.usage_basis_points, v_extended.period_grant, v_extended.period_start,
        v_extended.period_end;
end
$$;
grant execute on function inference.fall_back to exchequer_app;
