-- inference.open_many: let calls of several accounts begin, where nothing speaks against it.
--
-- Takes up to 256 requests; request i is of account i. An account is decided here if nobody
-- holds it, its plan opens what is asked for, none of its limits can be reached by this, and
-- credits.reserve_many grants what is to be reserved. What a plan opens is looked up once for
-- all who ask for the same. Of any other account nothing is written. Where somebody holds it,
-- its requests are answered BUSY and may be asked again; else no row is answered: send them to
-- inference.open, which decides them one by one. The last row of an account that is decided
-- carries its balance.
--
-- locks     the accounts that nobody holds; waits for none
-- refuses   BUSY, for requests of an account that somebody holds
-- replays   nothing: a key that was used is for inference.open to answer
-- ends in   inference.close or inference.give_back
create or replace function inference.open_many(
    p_account_ids uuid[],
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
    v_free uuid[];
    v_held bigint[];
    v_now timestamptz;
    v_ordinals bigint[];
    v_accounts uuid[];
    v_terms inference.terms[];
begin
    select l.free, l.held into v_free, v_held
    from credits._lock_free(p_account_ids, cardinality(p_requests)) as l;
    -- Once, and after the locks.
    v_now := core.clock();

    with asked as materialized (
        select u.*, catalog._plan_of(u.account_id) as plan
        from unnest(p_account_ids, p_requests) with ordinality as u (
            account_id, idempotency_key, fingerprint, feature, quality, model, prompt_tokens,
            output_tokens, choices, first_tokens, ttl_seconds, end_customer_ref, related_type,
            related_id, related_name, trace_id, actor, metadata, ordinal
        )
        where u.account_id = any (v_free)
    ),
    opened as materialized (
        select k.*, inference._access(k.plan, k.feature, k.quality, k.model) as access
        from (select distinct q.plan, q.feature, q.quality, q.model from asked as q) as k
    ),
    found as (
        select
            q.*, o.access,
            count(*) over (partition by q.account_id) as places,
            bool_and(
                inference._check_open(q.idempotency_key, q.fingerprint, q.prompt_tokens,
                    q.output_tokens, q.choices, q.first_tokens, q.ttl_seconds) is null
                and (o.access).reason is null
                and not exists (
                    select from inference.calls as c
                    where c.account_id = q.account_id
                        and c.idempotency_key = q.idempotency_key
                        and (c.account_id, c.idempotency_key)
                            >= (q.account_id, q.idempotency_key)
                )
            ) over (partition by q.account_id) as are_plain
        from asked as q
        join opened as o
            on o.plan = q.plan
                and o.feature is not distinct from q.feature
                and o.quality is not distinct from q.quality
                and o.model is not distinct from q.model
    ),
    free as (
        select f.*
        from found as f
        where f.are_plain and not exists (
            -- Each of the account's requests counts for each of its limits.
            select
            from credits.accounts as a
            cross join lateral inference._begun(
                f.account_id, f.access, greatest(v_now, a.clock_at)) as l
            where a.account_id = f.account_id
                and coalesce(l.begun + f.places > l.most, f.end_customer_ref is not null)
        )
    )
    select
        array_agg(f.ordinal order by f.ordinal),
        array_agg(f.account_id order by f.ordinal),
        array_agg(inference._priced(
            row(
                'OK', null, (f.access).project_id, (f.access).plan_key, (f.access).plan_version,
                (f.access).quality, null, null, null, (f.access).fallbacks,
                null, null, null, null, null
            )::inference.terms,
            (f.access).model, f.prompt_tokens, f.output_tokens, f.choices, f.first_tokens
        ) order by f.ordinal)
    into v_ordinals, v_accounts, v_terms
    from free as f
    -- An account is decided whole.
    where f.places = (select count(*) from free as s where s.account_id = f.account_id);

    if v_ordinals is not null then
        return query
        with plain as materialized (
            select
                w.asked_ordinal, w.account_id, w.place, t.*, q.idempotency_key, q.fingerprint,
                q.feature, q.prompt_tokens, q.choices, q.first_tokens, q.ttl_seconds,
                q.end_customer_ref, q.related_type, q.related_id, q.related_name, q.trace_id,
                q.actor, q.metadata
            from unnest(v_ordinals, v_accounts) with ordinality as w (
                asked_ordinal, account_id, place)
            cross join lateral (select (v_terms[w.place]).*) as t
            cross join lateral (select (p_requests[w.asked_ordinal]).*) as q
        ),
        reserved as materialized (
            select r.*
            from credits.reserve_many(v_accounts, array(
                select row(
                    p.idempotency_key, p.amount, p.ttl_seconds, p.feature, p.quality, p.model,
                    p.price_version::text, p.end_customer_ref, p.related_type, p.related_id,
                    p.related_name, p.actor, p.metadata
                )::credits.reserve_request
                from plain as p
                order by p.place
            )) as r
            where r.outcome = 'OK'
        ),
        -- Places are taken in the order of the requests, from the last that was taken.
        kept as (
            insert into inference.calls (
                account_id, id, project_id, idempotency_key, fingerprint, feature,
                account_place, feature_place, quality,
                plan_key, plan_version, is_stream, model, provider, provider_model_id,
                price_version, credits_per_1k_tokens, asked_at, fallbacks, prompt_tokens,
                choices, output_limit, reserved_tokens, state,
                end_customer_ref, related_type, related_id, trace_id,
                actor_kind, actor_id, actor_label, opened_at, leased_until
            )
            select
                p.account_id, r.reservation_id, p.project_id, p.idempotency_key, p.fingerprint,
                p.feature,
                inference._last_place(p.account_id) + row_number() over (
                    partition by p.account_id order by p.place),
                inference._last_feature_place(p.account_id, p.feature) + row_number() over (
                    partition by p.account_id, p.feature order by p.place),
                p.quality, p.plan_key, p.plan_version, p.first_tokens is not null,
                p.model, p.provider, p.provider_model_id, p.price_version,
                p.credits_per_1k_tokens, n.opened_at, p.fallbacks, p.prompt_tokens, p.choices,
                p.output_limit, p.reserved_tokens, 'open',
                p.end_customer_ref, p.related_type, p.related_id, p.trace_id,
                (p.actor).kind, (p.actor).id, (p.actor).label, n.opened_at, r.expires_at
            from reserved as r
            join plain as p on p.place = r.ordinal
            cross join lateral (
                select r.expires_at - make_interval(secs => p.ttl_seconds) as opened_at
            ) as n
        )
        select
            p.asked_ordinal, r.outcome, r.facts, r.replayed,
            r.reservation_id, r.status, r.amount, r.expires_at, r.version, r.version_before,
            'open', p.feature, p.quality, p.model, p.provider, p.provider_model_id,
            p.price_version, p.fallbacks, p.output_limit, p.reserved_tokens,
            (
                select v.streams_stop
                from catalog.plan_versions as v
                where v.project_id = p.project_id
                    and v.plan_key = p.plan_key
                    and v.version = p.plan_version
            ),
            r.account_id, r.balance_version, r.available, r.reserved, r.spendable, r.overage,
            r.overdraft_limit, r.granted, r.monthly, r.bonus, r.used_this_period, r.remaining,
            r.total, r.usage_basis_points, r.period_grant, r.period_start, r.period_end
        from reserved as r
        join plain as p on p.place = r.ordinal
        order by r.ordinal;
    end if;

    -- Of the others some are held: that is told by their places.
    outcome := 'BUSY';
    replayed := false;
    foreach ordinal in array v_held loop
        return next;
    end loop;
end
$$;
grant execute on function inference.open_many to exchequer_app;
