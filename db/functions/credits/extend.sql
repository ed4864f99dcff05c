-- credits.extend: a reservation holds more, or for longer.
--
-- Amount and expiry are absolute and only ever rise, so requests may be repeated and
-- overtake each other: each means "at least this much, at least until then".
-- Takes up to 256 requests for one account, decides each in turn.
--
-- locks     the account
-- refuses   NOACC; as outcome: VALIDATION_ERROR, RESERVATION_NOT_FOUND, RESERVATION_SETTLED,
--           RESERVATION_RELEASED, RESERVATION_EXPIRED, INSUFFICIENT_CREDITS, BUSY
-- replays   what is reached already stays as it is
-- ends in   credits.settle, credits.release or credits.expire_reservations
create or replace function credits.extend(
    p_account_id uuid,
    p_requests credits.extend_request[]
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
    v_more bigint;
    v_spendable bigint;
    v_paid bigint;
    v_reservation credits.reservations;
    q record;
begin
    perform credits._assert_set(cardinality(p_requests), c_set_limit);
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    version_before := v_version_before;

    for q in
        select u.*
        from unnest(p_requests) with ordinality
            as u (asked_id, asked_amount, asked_expires_at, ordinal)
        order by u.ordinal
    loop
        ordinal := q.ordinal;
        outcome := 'OK';
        facts := null;
        replayed := false;
        select r.* into v_reservation
        from credits.reservations as r
        where r.account_id = p_account_id and r.id = q.asked_id
            and (r.account_id, r.id) >= (p_account_id, q.asked_id);
        v_more := greatest(0, coalesce(q.asked_amount, 0) - v_reservation.amount);

        if q.asked_amount not between 1 and 1000000000000000000 then
            outcome := 'VALIDATION_ERROR';
            facts := '{"field": "amount", "reason": "must be above 0 and at most 10^12 credits"}';
        elsif q.asked_expires_at > v_account.clock_at + interval '24 hours' then
            outcome := 'VALIDATION_ERROR';
            facts := '{"field": "expiresAt", "reason": "must be at most 24 hours from now"}';
        elsif v_reservation.id is null then
            outcome := 'RESERVATION_NOT_FOUND';
            facts := jsonb_build_object('reservationId', q.asked_id);
        elsif v_reservation.status = 'settled' then
            outcome := 'RESERVATION_SETTLED';
            facts := jsonb_build_object('reservationId', q.asked_id,
                'settledAmount', v_reservation.settled_amount);
        elsif v_reservation.status = 'released' then
            outcome := 'RESERVATION_RELEASED';
            facts := jsonb_build_object('reservationId', q.asked_id);
        elsif v_reservation.status = 'expired' then
            outcome := 'RESERVATION_EXPIRED';
            facts := jsonb_build_object('reservationId', q.asked_id);
        elsif v_more = 0
            and coalesce(q.asked_expires_at <= v_reservation.expires_at, true)
        then
            replayed := true;
        elsif v_account.next_due_at <= v_account.clock_at then
            outcome := 'BUSY';
            facts := '{}';
        else
            -- Who owes beyond the limit can spend nothing, but never less: more time alone
            -- asks for nothing.
            v_spendable := greatest(
                0, v_account.available + v_account.overdraft_limit - v_account.overage
            );
            if v_more > v_spendable and not v_swept then
                v_account := credits._sweep(v_account);
                v_swept := true;
                v_spendable := greatest(
                    0, v_account.available + v_account.overdraft_limit - v_account.overage
                );
                select r.* into v_reservation
                from credits.reservations as r
                where r.account_id = p_account_id and r.id = q.asked_id
                    and (r.account_id, r.id) >= (p_account_id, q.asked_id);
            end if;
            if v_more > v_spendable and v_account.period_grant = -1
                and v_reservation.status = 'pending'
            then
                v_account := credits._replenish(v_account, v_more);
                v_spendable := greatest(
                    0, v_account.available + v_account.overdraft_limit - v_account.overage
                );
            end if;
            if v_reservation.status = 'expired' then
                outcome := 'RESERVATION_EXPIRED';
                facts := jsonb_build_object('reservationId', q.asked_id);
            elsif v_more > v_spendable then
                outcome := 'INSUFFICIENT_CREDITS';
                facts := jsonb_build_object(
                    'required', v_more,
                    'spendable', v_spendable,
                    'shortfall', v_more - v_spendable);
            else
                v_paid := least(v_account.available, v_more);
                v_account.available := v_account.available - v_paid;
                v_account.overage := v_account.overage + v_more - v_paid;
                v_account.reserved := v_account.reserved + v_more;
                v_account.version := v_account.version + 1;
                v_reservation.amount := v_reservation.amount + v_more;
                v_reservation.expires_at :=
                    greatest(v_reservation.expires_at, q.asked_expires_at);
                update credits.reservations as r
                set amount = v_reservation.amount, expires_at = v_reservation.expires_at
                where r.account_id = p_account_id and r.id = q.asked_id
                    and (r.account_id, r.id) >= (p_account_id, q.asked_id);
                insert into credits.reservation_extensions (
                    account_id, version, reservation_id, amount, expires_at, created_at
                ) values (
                    p_account_id, v_account.version, q.asked_id,
                    v_reservation.amount, v_reservation.expires_at, v_account.clock_at
                );
            end if;
        end if;

        reservation_id := case when outcome = 'OK' then v_reservation.id end;
        status := case when outcome = 'OK' then v_reservation.status end;
        amount := case when outcome = 'OK' then v_reservation.amount end;
        expires_at := case when outcome = 'OK' then v_reservation.expires_at end;
        version := case when outcome = 'OK' and not replayed then v_account.version end;
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
end
$$;
grant execute on function credits.extend to exchequer_app;
