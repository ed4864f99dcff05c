-- credits.reserve: set credits aside for work that is under way.
--
-- Takes up to 256 requests for one account, decides each in turn, answers one row for
-- each; the last row carries the balance after all of them. A refused request moves
-- nothing and leaves its neighbours alone.
--
-- locks     the account
-- refuses   NOACC; as outcome: VALIDATION_ERROR, INSUFFICIENT_CREDITS, DUPLICATE_REQUEST, BUSY
-- replays   the same key and request answer the first id, amount and expiry, and the
--           reservation's present status; another request under the key is refused
-- ends in   credits.settle, credits.release or credits.expire_reservations
create or replace function credits.reserve(
    p_account_id uuid,
    p_requests credits.reserve_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint, expires_at timestamptz,
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
    c_set_limit constant int := 256;
    v_account credits.accounts;
    v_version_before bigint;
    v_swept boolean := false;
    v_new credits.reservations[] := array[]::credits.reservations[];
    v_row credits.reservations;
    v_twin credits.reservations;
    v_fingerprint bytea;
    v_spendable bigint;
    v_paid bigint;
    q record;
begin
    perform credits._assert_set(cardinality(p_requests), c_set_limit);
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    version_before := v_version_before;

    for q in
        select
            u.*,
            r.id as seen_id,
            r.status as seen_status,
            r.requested_amount as seen_amount,
            r.opened_at + make_interval(secs => r.requested_ttl_seconds) as seen_expires_at,
            r.opened_version as seen_version,
            r.fingerprint as seen_fingerprint,
            count(*) over (partition by u.idempotency_key) > 1 as has_twin
        from unnest(p_requests) with ordinality as u (
            idempotency_key, amount, ttl_seconds, feature, quality, model, price_version,
            end_customer_ref, related_type, related_id, related_name, actor, metadata, ordinal
        )
        left join lateral (
            select r.*
            from credits.reservations as r
            where r.account_id = p_account_id
                and r.idempotency_key = u.idempotency_key
                and (r.account_id, r.idempotency_key) >= (p_account_id, u.idempotency_key)
            offset 0
        ) as r on true
        order by u.ordinal
    loop
        ordinal := q.ordinal;
        outcome := 'OK';
        facts := credits._check_reserve(q.idempotency_key, q.amount, q.ttl_seconds);
        replayed := false;
        reservation_id := q.seen_id;
        status := q.seen_status;
        amount := q.seen_amount;
        expires_at := q.seen_expires_at;
        version := q.seen_version;
        v_fingerprint := credits._reserve_fingerprint(
            q.amount, q.ttl_seconds, q.feature, q.quality, q.model, q.price_version,
            q.end_customer_ref, q.related_type, q.related_id, q.metadata);

        if q.has_twin and q.seen_id is null then
            -- A request of this very set may have taken the key a moment ago.
            foreach v_twin in array v_new loop
                if v_twin.idempotency_key = q.idempotency_key then
                    q.seen_fingerprint := v_twin.fingerprint;
                    reservation_id := v_twin.id;
                    status := v_twin.status;
                    amount := v_twin.amount;
                    expires_at := v_twin.expires_at;
                    version := v_twin.opened_version;
                end if;
            end loop;
        end if;

        if facts is not null then
            outcome := 'VALIDATION_ERROR';
        elsif q.seen_fingerprint = v_fingerprint then
            replayed := true;
            if v_swept then
                -- This very set may have expired it a moment ago.
                status := coalesce((
                    select r.status
                    from credits.reservations as r
                    where r.account_id = p_account_id and r.id = q.seen_id
                ), status);
            end if;
        elsif q.seen_fingerprint is not null then
            outcome := 'DUPLICATE_REQUEST';
            facts := jsonb_build_object('idempotencyKey', q.idempotency_key);
        elsif v_account.next_due_at <= v_account.clock_at then
            outcome := 'BUSY';
            facts := '{}';
        else
            v_spendable := v_account.available + v_account.overdraft_limit - v_account.overage;
            if q.amount > v_spendable and not v_swept then
                v_account := credits._sweep(v_account);
                v_swept := true;
                v_spendable :=
                    v_account.available + v_account.overdraft_limit - v_account.overage;
            end if;
            if q.amount > v_spendable and v_account.period_grant = -1 then
                v_account := credits._replenish(v_account, q.amount);
                v_spendable :=
                    v_account.available + v_account.overdraft_limit - v_account.overage;
            end if;

            if q.amount > v_spendable then
                outcome := 'INSUFFICIENT_CREDITS';
                facts := jsonb_build_object(
                    'required', q.amount,
                    'spendable', greatest(0, v_spendable),
                    'shortfall', q.amount - greatest(0, v_spendable));
            else
                v_paid := least(v_account.available, q.amount);
                v_account.available := v_account.available - v_paid;
                v_account.overage := v_account.overage + q.amount - v_paid;
                v_account.reserved := v_account.reserved + q.amount;
                v_account.version := v_account.version + 1;

                v_row.account_id := p_account_id;
                v_row.id := core.uuidv7();
                v_row.amount := q.amount;
                v_row.requested_amount := q.amount;
                v_row.requested_ttl_seconds := q.ttl_seconds;
                v_row.status := 'pending';
                v_row.idempotency_key := q.idempotency_key;
                v_row.fingerprint := v_fingerprint;
                v_row.opened_at := v_account.clock_at;
                v_row.expires_at := v_account.clock_at + make_interval(secs => q.ttl_seconds);
                v_row.opened_version := v_account.version;
                v_row.feature := q.feature;
                v_row.quality := q.quality;
                v_row.model := q.model;
                v_row.price_version := q.price_version;
                v_row.end_customer_ref := q.end_customer_ref;
                v_row.related_type := q.related_type;
                v_row.related_id := q.related_id;
                v_row.related_name := q.related_name;
                v_row.actor_kind := (q.actor).kind;
                v_row.actor_id := (q.actor).id;
                v_row.actor_label := (q.actor).label;
                v_row.metadata := q.metadata;
                v_new := v_new || v_row;

                reservation_id := v_row.id;
                status := v_row.status;
                amount := v_row.amount;
                expires_at := v_row.expires_at;
                version := v_row.opened_version;
            end if;
        end if;

        if outcome <> 'OK' then
            reservation_id := null;
            status := null;
            amount := null;
            expires_at := null;
            version := null;
        end if;
        if q.ordinal = cardinality(p_requests) then
            select b.* into
                account_id, balance_version, available, reserved, spendable, overage, overdraft_limit,
                granted, monthly, bonus, used_this_period, remaining, total, usage_basis_points,
                period_grant, period_start, period_end
            from credits._balance(v_account) as b;
        end if;
        return next;
    end loop;

    perform credits._save(v_account);
    insert into credits.reservations select n.* from unnest(v_new) as n;
end
$$;
grant execute on function credits.reserve to exchequer_app;
