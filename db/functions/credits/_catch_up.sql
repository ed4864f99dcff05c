-- credits._catch_up: everything that has come due on a locked account, in order of time.
--
-- Each boundary is worked with its own time: reservations past it expire, grants begin,
-- grants end (but for what reservations opened before still hold), a pending allowance
-- takes effect, the period rolls. A call works at most 120 boundaries, ten years of months,
-- and less where a boundary is crowded; what is left is due at once again.
create or replace function credits._catch_up(p_account credits.accounts)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    c_boundaries constant int := 120;
    c_grants constant int := 200;
    v_account credits.accounts := p_account;
    v_at timestamptz;
    v_grant record;
    v_work int := 0;
    v_begun int;
    v_monthly bigint;
    v_before jsonb;
begin
    -- A full round of reservations or of beginning grants counts as 12 boundaries.
    while v_account.next_due_at <= v_account.clock_at and v_work < c_boundaries loop
        v_at := v_account.next_due_at;
        v_account := credits._expire_due(v_account, v_at);
        if exists (
            select from credits.reservations as r
            where r.account_id = v_account.account_id
                and r.status = 'pending'
                and r.expires_at <= v_at
        ) then
            v_work := v_work + 12;
            continue;
        end if;

        v_begun := 0;
        for v_grant in
            select g.id, g.effective_at
            from credits.grants as g
            where g.account_id = v_account.account_id
                and g.state = 'scheduled'
                and g.effective_at <= v_at
            order by g.effective_at, g.priority, g.expires_at, g.category = 'paid', g.created_at,
                g.id
            limit c_grants
        loop
            v_account := credits._activate(v_account, v_grant.id, v_grant.effective_at);
            v_begun := v_begun + 1;
        end loop;
        if v_begun = c_grants then
            v_work := v_work + 12;
            continue;
        end if;

        v_monthly := v_account.monthly;
        v_account := credits._expire_grants(v_account, v_at);
        v_monthly := v_monthly - v_account.monthly;
        if v_account.period_grant = -1 then
            -- Of what was unlimited, nothing rolls over.
            v_monthly := 0;
        end if;

        if v_account.pending_at <= v_at then
            v_before := credits._terms(v_account);
            v_account.period_grant := v_account.pending_period_grant;
            v_account.rollover_cap := v_account.pending_rollover_cap;
            v_account.pending_at := null;
            v_account.pending_period_grant := null;
            v_account.pending_rollover_cap := null;
            v_account := credits._note_change(
                v_account, 'apply_pending_allowance', v_before, credits._terms(v_account), v_at);
        end if;

        if v_account.period_end <= v_at then
            v_account := credits._roll_period(v_account, v_monthly);
        end if;
        v_account := credits._note_level(v_account, v_at);
        v_account.next_due_at := credits._next_due(v_account);
        v_work := v_work + 1;
    end loop;
    return credits._expire_due(v_account, v_account.clock_at);
end
$$;

-- The next month begins. Granted only if it begins before the account's funding ends;
-- of the monthly credits that just expired, as many roll over as the cap allows, but none
-- of an unlimited block. A month that is not paid for yet has its roll-over withheld, for
-- the payment that comes late. An account that has been granted all it may ever be rolls
-- on without.
create or replace function credits._roll_period(p_account credits.accounts, p_expired bigint)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_start timestamptz := p_account.period_end;
    v_end timestamptz := credits.next_boundary(p_account.period_end, p_account.anchor_day);
    v_rollover bigint := least(p_expired, p_account.rollover_cap, credits._room(p_account));
    v_allowance bigint;
begin
    v_account.period_start := v_start;
    v_account.period_end := v_end;
    v_account.spent_at_period_start := v_account.spent_total;
    v_account := credits._note_change(
        v_account, 'roll_period',
        jsonb_build_object('periodStart', p_account.period_start, 'periodEnd', v_start),
        jsonb_build_object('periodStart', v_start, 'periodEnd', v_end),
        v_start);
    v_account.rollover_withheld := 0;
    if v_account.period_grant = -1 then
        v_rollover := 0;
    end if;
    if v_account.funded_until is not null and v_start >= v_account.funded_until then
        v_account.rollover_withheld := v_rollover;
        return v_account;
    end if;
    if v_rollover > 0 then
        v_account := credits._give(
            v_account, 'roll_period', 'rollover', 'paid', 10, v_rollover, v_start, v_end);
    end if;
    v_allowance := least(
        case when v_account.period_grant = -1
            then credits._unlimited_block() else v_account.period_grant end,
        credits._room(v_account));
    if v_allowance > 0 then
        v_account := credits._give(
            v_account, 'roll_period', 'plan_allocation', 'paid', 10, v_allowance, v_start, v_end);
    end if;
    return v_account;
end
$$;

-- The terms of an account, for the record of their changes.
create or replace function credits._terms(p_account credits.accounts)
returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'periodGrant', p_account.period_grant,
        'rolloverCap', p_account.rollover_cap,
        'pendingPeriodGrant', p_account.pending_period_grant,
        'pendingRolloverCap', p_account.pending_rollover_cap,
        'pendingAt', p_account.pending_at,
        'fundedUntil', p_account.funded_until,
        'overdraftLimit', p_account.overdraft_limit,
        'lowBalancePercent', p_account.low_balance_percent,
        'minimumCharge', p_account.minimum_charge
    )
$$;
