-- credits.deduct: reserve and settle in one: charge for work that is done.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX; as outcome: INSUFFICIENT_CREDITS, BUSY
-- replays   the same key and request answer the first ledger row; who asks, why, and what was
--           used do not make it another request
-- ends in   itself; credits.refund gives back
create or replace function credits.deduct(
    p_account_id uuid,
    p_amount bigint,
    p_idempotency_key text,
    p_feature text default null,
    p_quality text default null,
    p_model text default null,
    p_price_version text default null,
    p_end_customer_ref text default null,
    p_related_type text default null,
    p_related_id text default null,
    p_related_name text default null,
    p_usage credits.settle_request default null,
    p_reason text default null,
    p_actor credits.actor default null,
    p_metadata jsonb default null
)
returns table (
    outcome text, facts jsonb, amount bigint, replayed boolean,
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
    v_account credits.accounts;
    v_version_before bigint;
    v_version bigint;
    v_seen bytea;
    v_spendable bigint;
    v_outcome text := 'OK';
    v_facts jsonb;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_amount, p_feature, p_quality, p_model, p_price_version, p_end_customer_ref,
        p_related_type, p_related_id, p_metadata));
begin
    perform credits._check_key(p_idempotency_key);
    perform credits._check_amount(p_amount);
    if least((p_usage).input_tokens, (p_usage).output_tokens, (p_usage).cost_nanodollars,
        (p_usage).latency_ms) < 0
    then
        perform credits._invalid('usage', 'must not be negative');
    end if;
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    select t.fingerprint, t.version into v_seen, v_version
    from credits.transactions as t
    where t.account_id = p_account_id
        and t.operation = 'deduct' and t.idempotency_key = p_idempotency_key;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null and v_account.next_due_at <= v_account.clock_at then
        v_outcome := 'BUSY';
        v_facts := '{}';
    elsif v_seen is null then
        v_spendable := v_account.available + v_account.overdraft_limit - v_account.overage;
        if p_amount > v_spendable then
            v_account := credits._sweep(v_account);
            v_spendable := v_account.available + v_account.overdraft_limit - v_account.overage;
        end if;
        if p_amount > v_spendable and v_account.period_grant = -1 then
            v_account := credits._replenish(v_account, p_amount);
            v_spendable := v_account.available + v_account.overdraft_limit - v_account.overage;
        end if;
        if p_amount > v_spendable then
            v_outcome := 'INSUFFICIENT_CREDITS';
            v_facts := jsonb_build_object(
                'required', p_amount,
                'spendable', greatest(0, v_spendable),
                'shortfall', p_amount - greatest(0, v_spendable));
        else
            v_account := credits._spend(v_account, p_amount, p_idempotency_key, v_fingerprint,
                row(p_feature, p_quality, p_model, p_price_version, p_end_customer_ref,
                    p_related_type, p_related_id, p_related_name)::credits.subject,
                p_usage, p_reason, p_actor, p_metadata);
            v_version := v_account.version;
        end if;
    end if;
    perform credits._save(v_account);
    return query
        select v_outcome, v_facts, p_amount, v_seen is not null, v_version,
            v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;

-- Book one deduction: grants drawn, ledger row, usage record.
create or replace function credits._spend(
    p_account credits.accounts,
    p_amount bigint,
    p_idempotency_key text,
    p_fingerprint bytea,
    p_subject credits.subject,
    p_usage credits.settle_request,
    p_reason text,
    p_actor credits.actor,
    p_metadata jsonb
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_paid bigint := least(p_account.available, p_amount);
    v_drawn record;
begin
    select d.* into strict v_drawn
    from credits._draw(p_account.account_id, array[p_amount]) as d;
    v_account.version := v_account.version + 1;
    v_account.available := v_account.available - v_paid;
    v_account.overage := v_account.overage + p_amount - v_paid;
    v_account.spent_total := v_account.spent_total + p_amount;
    v_account.monthly := v_account.monthly - v_drawn.monthly;
    v_account.bonus := v_account.bonus - v_drawn.bonus;
    insert into credits.transactions (
        account_id, version, type, operation, amount,
        available_after, reserved_after, overage_after,
        drawn_grant_ids, drawn_amounts, idempotency_key, fingerprint, reason,
        feature, quality, model, price_version, end_customer_ref,
        related_type, related_id, related_name,
        actor_kind, actor_id, actor_label, metadata, created_at
    ) values (
        v_account.account_id, v_account.version, 'consumption', 'deduct', -p_amount,
        v_account.available, v_account.reserved, v_account.overage,
        v_drawn.grant_ids, v_drawn.amounts, p_idempotency_key, p_fingerprint, p_reason,
        (p_subject).feature, (p_subject).quality, (p_subject).model,
        (p_subject).price_version, (p_subject).end_customer_ref,
        (p_subject).related_type, (p_subject).related_id, (p_subject).related_name,
        (p_actor).kind, (p_actor).id, (p_actor).label, p_metadata, v_account.clock_at
    );
    perform usage.record(array[p_account.account_id], array[row(
        null, v_account.version, (p_usage).operation,
        (p_subject).feature, (p_subject).quality,
        coalesce((p_usage).model, (p_subject).model), (p_subject).price_version,
        (p_usage).input_tokens, (p_usage).output_tokens, (p_usage).usage_estimated,
        (p_usage).cost_nanodollars, p_amount, (p_usage).status_code, (p_usage).latency_ms,
        (p_usage).trace_id, (p_subject).end_customer_ref, (p_usage).metadata,
        coalesce((p_usage).occurred_at, v_account.clock_at), v_account.clock_at
    )::usage.settled_call]);
    return v_account;
end
$$;
grant execute on function credits.deduct to exchequer_app;
