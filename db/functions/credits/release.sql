-- credits.release: give reserved credits back; nothing was used.
--
-- Takes up to 256 requests for one account, decides each in turn, answers one row for
-- each; the last row carries the balance after all of them.
--
-- locks     the account
-- refuses   NOACC; as outcome: RESERVATION_NOT_FOUND, RESERVATION_SETTLED, VALIDATION_ERROR,
--           BUSY
-- replays   a reservation that was released or has expired stays as it is
-- ends in   itself
create or replace function credits.release(
    p_account_id uuid,
    p_requests credits.release_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint,
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
        select u.reservation_id as asked_id, u.reason, u.ordinal
        from unnest(p_requests) with ordinality as u (reservation_id, reason, ordinal)
        order by u.ordinal
    loop
        ordinal := q.ordinal;
        outcome := 'OK';
        facts := null;
        replayed := false;
        select r.id, r.status, r.amount, r.settled_amount, r.closed_version
        into reservation_id, status, amount, v_paid, version
        from credits.reservations as r
        where r.account_id = p_account_id and r.id = q.asked_id
            and (r.account_id, r.id) >= (p_account_id, q.asked_id);

        if reservation_id is null then
            outcome := 'RESERVATION_NOT_FOUND';
            facts := jsonb_build_object('reservationId', q.asked_id);
        elsif length(q.reason) > 1000 then
            outcome := 'VALIDATION_ERROR';
            facts := '{"field": "reason", "reason": "must have at most 1000 characters"}';
        elsif status = 'settled' then
            outcome := 'RESERVATION_SETTLED';
            facts := jsonb_build_object('reservationId', q.asked_id, 'settledAmount', v_paid);
        elsif status in ('released', 'expired') then
            replayed := true;
        elsif v_account.next_due_at <= v_account.clock_at then
            outcome := 'BUSY';
            facts := '{}';
        else
            v_paid := least(v_account.overage, amount);
            v_account.reserved := v_account.reserved - amount;
            v_account.overage := v_account.overage - v_paid;
            v_account.available := v_account.available + amount - v_paid;
            v_account.version := v_account.version + 1;
            status := 'released';
            version := v_account.version;
            update credits.reservations as r
            set status = 'released',
                release_reason = q.reason,
                closed_version = v_account.version,
                closed_at = v_account.clock_at
            where r.account_id = p_account_id and r.id = q.asked_id
                and (r.account_id, r.id) >= (p_account_id, q.asked_id);
        end if;

        if outcome <> 'OK' then
            reservation_id := null;
            status := null;
            amount := null;
            version := null;
        end if;
        if q.ordinal = cardinality(p_requests) then
            if v_account.lapsed > 0 then
                v_account := credits._lapse(v_account);
            end if;
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
grant execute on function credits.release to exchequer_app;
