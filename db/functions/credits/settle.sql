-- credits.settle: charge what was really used, and close the reservation.
--
-- Takes up to 256 requests for one account, decides each in turn, answers one row for
-- each; the last row carries the balance after all of them. Less than reserved returns
-- the rest; more is taken from what is available, then becomes overage. A settle after
-- expiry still charges: nothing is free, nothing is capped. An absurd amount is refused
-- and kept as a finding. Ledger row and usage record are written together.
--
-- locks     the account
-- refuses   NOACC; as outcome: VALIDATION_ERROR, RESERVATION_NOT_FOUND, RESERVATION_SETTLED,
--           RESERVATION_RELEASED, SETTLE_AMOUNT_IMPLAUSIBLE, BALANCE_LIMIT, BUSY
-- replays   the same amount again answers the first settle; another amount is refused with
--           the amount that won
-- ends in   itself; credits.refund gives back
create or replace function credits.settle(
    p_account_id uuid,
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
    c_set_limit constant int := 256;
    c_books constant bigint := credits._books_limit();
    v_account credits.accounts;
    v_version_before bigint;
    v_ids uuid[] := array[]::uuid[];
    v_amounts bigint[] := array[]::bigint[];
    v_ordinals bigint[] := array[]::bigint[];
    v_ledger credits.transactions[] := array[]::credits.transactions[];
    v_entry credits.transactions;
    v_drawn bigint[];
    v_at int;
    v_limit bigint;
    v_opened_at timestamptz;
    v_back bigint;
    v_excess bigint;
    v_paid bigint;
    q record;
begin
    perform credits._assert_set(cardinality(p_requests), c_set_limit);
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    version_before := v_version_before;

    -- What lapsed must be looked at after every settle; such sets go one by one.
    if v_account.lapsed > 0 and cardinality(p_requests) > 1 then
        perform credits._save(v_account);
        for v_at in 1..cardinality(p_requests) loop
            return query
                select v_at::bigint, s.outcome, s.facts, s.replayed, s.reservation_id, s.status,
                    s.amount, s.settled_amount, s.late, s.version, v_version_before,
                    b.account_id, b.balance_version, b.available, b.reserved, b.spendable,
                    b.overage, b.overdraft_limit, b.granted, b.monthly, b.bonus,
                    b.used_this_period, b.remaining, b.total, b.usage_basis_points,
                    b.period_grant, b.period_start, b.period_end
                from credits.settle(p_account_id, p_requests[v_at:v_at]) as s
                left join lateral (select s.*) as b on v_at = cardinality(p_requests);
        end loop;
        return;
    end if;

    for q in
        select
            u.ordinal,
            u.reservation_id as asked_id,
            u.amount as asked_amount,
            u.actor as asked_actor,
            u.metadata as asked_metadata,
            u.model as asked_model,
            least(u.input_tokens, u.output_tokens, u.cost_nanodollars, u.latency_ms) < 0
                is true as bad_usage,
            r.*
        from unnest(p_requests) with ordinality as u (
            reservation_id, amount, operation, model, input_tokens, output_tokens,
            usage_estimated, cost_nanodollars, latency_ms, status_code, trace_id, occurred_at,
            actor, metadata, ordinal
        )
        left join lateral (
            select r.*
            from credits.reservations as r
            where r.account_id = p_account_id
                and r.id = u.reservation_id
                and (r.account_id, r.id) >= (p_account_id, u.reservation_id)
            offset 0
        ) as r on true
        order by u.ordinal
    loop
        ordinal := q.ordinal;
        outcome := 'OK';
        facts := null;
        replayed := false;
        reservation_id := q.id;
        status := q.status;
        amount := q.amount;
        settled_amount := q.settled_amount;
        late := q.settled_version > q.closed_version;
        version := q.settled_version;

        v_at := array_position(v_ids, q.id);
        if v_at is not null then
            -- Settled a moment ago by another request of this set.
            status := 'settled';
            settled_amount := v_amounts[v_at];
            late := q.status = 'expired';
            version := v_ledger[v_at].version;
        end if;

        if q.asked_amount is null
            or q.asked_amount not between 0 and 1000000000000000000
        then
            outcome := 'VALIDATION_ERROR';
            facts := jsonb_build_object(
                'field', 'amount', 'reason', 'must be at least 0 and at most 10^12 credits');
        elsif q.bad_usage then
            outcome := 'VALIDATION_ERROR';
            facts := '{"field": "usage", "reason": "must not be negative"}';
        elsif q.id is null then
            outcome := 'RESERVATION_NOT_FOUND';
            facts := jsonb_build_object('reservationId', q.asked_id);
        elsif status = 'settled' and settled_amount = q.asked_amount then
            replayed := true;
        elsif status = 'settled' then
            outcome := 'RESERVATION_SETTLED';
            facts := jsonb_build_object(
                'reservationId', q.id, 'settledAmount', settled_amount);
        elsif status = 'released' then
            outcome := 'RESERVATION_RELEASED';
            facts := jsonb_build_object('reservationId', q.id);
        elsif v_account.next_due_at <= v_account.clock_at then
            outcome := 'BUSY';
            facts := '{}';
        else
            v_limit := case when q.asked_amount > q.amount
                then credits._settle_limit(v_account.project_id, q.amount)
                else q.amount end;
            if q.asked_amount > v_limit then
                outcome := 'SETTLE_AMOUNT_IMPLAUSIBLE';
                facts := jsonb_build_object(
                    'reservationId', q.id, 'amount', q.asked_amount, 'limit', v_limit);
                insert into credits.findings (account_id, kind, subject, facts, created_at)
                values (p_account_id, 'settle_amount_implausible', q.id::text, facts,
                    v_account.clock_at)
                on conflict on constraint findings_pkey do nothing;
            elsif q.asked_amount - v_account.available
                - (case when q.status = 'pending' then q.amount else 0 end)
                > c_books - v_account.granted_total - v_account.overage
            then
                outcome := 'BALANCE_LIMIT';
                facts := jsonb_build_object('limit', credits._lifetime_limit());
                insert into credits.findings (account_id, kind, subject, facts, created_at)
                values (p_account_id, 'settle_beyond_limit', q.id::text,
                    facts || jsonb_build_object('amount', q.asked_amount), v_account.clock_at)
                on conflict on constraint findings_pkey do nothing;
            else
                v_back := 0;
                v_excess := q.asked_amount;
                if q.status = 'pending' then
                    v_back := greatest(0, q.amount - q.asked_amount);
                    v_excess := greatest(0, q.asked_amount - q.amount);
                    v_account.reserved := v_account.reserved - q.amount;
                end if;
                v_paid := least(v_account.overage, v_back);
                v_account.overage := v_account.overage - v_paid;
                v_account.available := v_account.available + v_back - v_paid;
                v_paid := least(v_account.available, v_excess);
                v_account.available := v_account.available - v_paid;
                v_account.overage := v_account.overage + v_excess - v_paid;
                v_account.spent_total := v_account.spent_total + q.asked_amount;
                v_account.version := v_account.version + 1;

                v_entry.account_id := p_account_id;
                v_entry.version := v_account.version;
                v_entry.type := 'consumption';
                v_entry.operation := 'settle';
                v_entry.amount := -q.asked_amount;
                v_entry.available_after := v_account.available;
                v_entry.reserved_after := v_account.reserved;
                v_entry.overage_after := v_account.overage;
                v_entry.reservation_id := q.id;
                v_entry.estimated := q.amount;
                v_entry.feature := q.feature;
                v_entry.quality := q.quality;
                v_entry.model := coalesce(q.asked_model, q.model);
                v_entry.price_version := q.price_version;
                v_entry.end_customer_ref := q.end_customer_ref;
                v_entry.related_type := q.related_type;
                v_entry.related_id := q.related_id;
                v_entry.related_name := q.related_name;
                v_entry.actor_kind := coalesce((q.asked_actor).kind, q.actor_kind);
                v_entry.actor_id := coalesce((q.asked_actor).id, q.actor_id);
                v_entry.actor_label := coalesce((q.asked_actor).label, q.actor_label);
                v_entry.metadata := coalesce(q.asked_metadata, q.metadata);
                v_entry.created_at := v_account.clock_at;
                v_ledger := v_ledger || v_entry;
                v_ids := v_ids || q.id;
                v_amounts := v_amounts || q.asked_amount;
                v_ordinals := v_ordinals || q.ordinal;
                -- For draws on what has lapsed; such sets hold one request.
                v_opened_at := case when q.status = 'pending' then q.opened_at end;

                late := q.status = 'expired';
                status := 'settled';
                settled_amount := q.asked_amount;
                version := v_account.version;
            end if;
        end if;

        if outcome <> 'OK' then
            reservation_id := null;
            status := null;
            amount := null;
            settled_amount := null;
            late := null;
            version := null;
        end if;
        if q.ordinal < cardinality(p_requests) then
            return next;
        end if;
    end loop;

    if cardinality(v_ids) > 0 then
        v_drawn := credits._book_settles(
            p_account_id, v_ledger,
            (select array_agg(p_requests[o] order by i)
                from unnest(v_ordinals) with ordinality as w (o, i)),
            v_opened_at);
        v_account.monthly := v_account.monthly - v_drawn[1];
        v_account.bonus := v_account.bonus - v_drawn[2];
        v_account.lapsed := v_account.lapsed - v_drawn[3];
        if v_account.lapsed > 0 then
            v_account := credits._lapse(v_account);
        end if;
    end if;
    perform credits._save(v_account);
    -- The last row waits for the draws: only now is the balance complete.
    select b.* into
                account_id, balance_version, available, reserved, spendable, overage, overdraft_limit,
                granted, monthly, bonus, used_this_period, remaining, total, usage_basis_points,
                period_grant, period_start, period_end
    from credits._balance(v_account) as b;
    return next;
end
$$;
grant execute on function credits.settle to exchequer_app;
