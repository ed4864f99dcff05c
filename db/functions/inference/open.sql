-- inference.open: let calls of models begin: check that they may, and reserve for them.
--
-- Takes up to 256 requests for one account, decides each in turn under its lock, answers one row
-- for each; the last row carries the balance after all of them. What is reserved covers the
-- prompt and `output_tokens`, or as much as the model can write; of a stream the first so many
-- tokens, since it may be extended.
--
-- locks     the account
-- refuses   NOACC, NFOUN; as outcome: VALIDATION_ERROR, FEATURE_DENIED, RATE_LIMITED,
--           INSUFFICIENT_CREDITS, DUPLICATE_REQUEST, BUSY
-- replays   the same key and fingerprint answer the call as it stands; another is refused
-- ends in   inference.close or inference.give_back
create or replace function inference.open(
    p_account_id uuid,
    p_requests inference.open_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint, expires_at timestamptz,
    version bigint, version_before bigint,
    state text, feature text, quality text, model text, provider text, provider_model_id text,
    price_version int,
    fallbacks text[], output_limit int, reserved_tokens bigint, streams_stop boolean,
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
    v_terms inference.terms;
    v_seen inference.calls;
    v_reserved record;
    v_outcome text;
    v_facts jsonb;
    v_replayed boolean;
    q record;
begin
    perform credits._assert_set(cardinality(p_requests), 256);
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    perform credits._save(v_account);

    for q in
        select u.*
        from unnest(p_requests) with ordinality as u
        order by u.ordinality
    loop
        v_outcome := 'OK';
        v_facts := inference._check_open(q.idempotency_key, q.fingerprint, q.prompt_tokens,
            q.output_tokens, q.choices, q.first_tokens, q.ttl_seconds);
        v_replayed := false;
        v_terms := null;
        select c.* into v_seen
        from inference.calls as c
        where c.account_id = p_account_id and c.idempotency_key = q.idempotency_key;
        if v_facts is not null then
            v_outcome := 'VALIDATION_ERROR';
        elsif v_seen.fingerprint = q.fingerprint then
            v_replayed := true;
        elsif v_seen.id is not null then
            v_outcome := 'DUPLICATE_REQUEST';
            v_facts := jsonb_build_object('idempotencyKey', q.idempotency_key);
        else
            v_terms := inference._terms(
                p_account_id, q.feature, q.quality, q.model, q.end_customer_ref, q.related_id,
                q.prompt_tokens, q.output_tokens, q.choices, q.first_tokens,
                v_account.clock_at);
            v_outcome := v_terms.outcome;
            v_facts := v_terms.facts;
        end if;

        if v_outcome = 'OK' and not v_replayed then
            select r.* into strict v_reserved
            from credits.reserve(p_account_id, array[row(
                q.idempotency_key, v_terms.amount, q.ttl_seconds, q.feature, v_terms.quality,
                v_terms.model, v_terms.price_version::text, q.end_customer_ref, q.related_type,
                q.related_id, q.related_name, q.actor, q.metadata
            )::credits.reserve_request]) as r;
            v_outcome := v_reserved.outcome;
            v_facts := v_reserved.facts;
            if v_outcome = 'OK' and v_reserved.replayed then
                -- Somebody reserved under this key without a call.
                v_outcome := 'DUPLICATE_REQUEST';
                v_facts := jsonb_build_object('idempotencyKey', q.idempotency_key);
            end if;
        end if;
        if v_outcome = 'OK' and not v_replayed then
            insert into inference.calls (
                account_id, id, project_id, idempotency_key, fingerprint, feature,
                account_place, feature_place, quality,
                plan_key, plan_version, is_stream, model, provider, provider_model_id, price_version,
                credits_per_1k_tokens, asked_at, fallbacks, prompt_tokens, choices,
                output_limit, reserved_tokens, state, end_customer_ref, related_type, related_id, trace_id,
                actor_kind, actor_id, actor_label, opened_at, leased_until
            ) values (
                p_account_id, v_reserved.reservation_id, v_terms.project_id, q.idempotency_key,
                q.fingerprint, q.feature,
                1 + inference._last_place(p_account_id),
                1 + inference._last_feature_place(p_account_id, q.feature),
                v_terms.quality, v_terms.plan_key,
                v_terms.plan_version, q.first_tokens is not null, v_terms.model,
                v_terms.provider, v_terms.provider_model_id, v_terms.price_version, v_terms.credits_per_1k_tokens,
                v_account.clock_at, v_terms.fallbacks, q.prompt_tokens, q.choices,
                v_terms.output_limit, v_terms.reserved_tokens, 'open', q.end_customer_ref, q.related_type,
                q.related_id, q.trace_id, (q.actor).kind, (q.actor).id, (q.actor).label,
                v_account.clock_at, v_reserved.expires_at
            ) returning * into v_seen;
        end if;
        -- The last row tells the balance.
        return query
            select q.ordinality, v_outcome, v_facts, v_replayed,
                c.id, r.status, r.amount::bigint, r.expires_at, r.opened_version, v_version_before,
                c.state, c.feature, c.quality, c.model, c.provider, c.provider_model_id,
                c.price_version,
                c.fallbacks, c.output_limit, c.reserved_tokens,
                (
                    select p.streams_stop
                    from catalog.plan_versions as p
                    where p.project_id = c.project_id
                        and p.plan_key = c.plan_key
                        and p.version = c.plan_version
                ),
                b.*
            from (select) as one
            left join (select (v_seen).*) as c on v_outcome = 'OK'
            left join credits.reservations as r on r.account_id = p_account_id and r.id = c.id
            left join lateral (
                select b.*
                from credits.accounts as a
                cross join lateral credits._balance(a) as b
                where a.account_id = p_account_id
            ) as b on q.ordinality = cardinality(p_requests);
    end loop;
end
$$;
grant execute on function inference.open to exchequer_app;
