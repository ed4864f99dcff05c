-- credits._save: write back an account that was locked and changed.
--
-- An account whose version stands is left alone: a refusal costs no write.
-- Also says, in the outbox, when an account runs low (what remains is less than a share of
-- the period's grant) or has run out (with the overdraft, not even the smallest charge is
-- left). The worse of the two is told; who has run out is not told again that little is
-- left. Reserved credits still count: they are upper bounds, most of which returns.
create or replace function credits._save(p_account credits.accounts)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_stored record;
    v_after bigint := p_account.available + p_account.reserved - p_account.overage;
    v_headroom bigint := v_after + p_account.overdraft_limit;
    v_low bigint := case when p_account.period_grant > 0
        then div(p_account.period_grant::numeric * p_account.low_balance_percent, 100)::bigint
        else 0 end;
begin
    select
        a.version,
        a.next_due_at,
        a.available + a.reserved - a.overage as before,
        a.available + a.reserved - a.overage + a.overdraft_limit as headroom
    into v_stored
    from credits.accounts as a
    where a.account_id = p_account.account_id;
    if (p_account.version, p_account.next_due_at)
        is not distinct from (v_stored.version, v_stored.next_due_at)
    then
        return;
    end if;

    update credits.accounts as a
    set (
        available, reserved, overage, overdraft_limit, lapsed, monthly, bonus,
        granted_total, spent_total, expired_total, clawed_back_total, spent_at_period_start,
        period_start, period_end, anchor_day, period_grant, rollover_cap, rollover_withheld,
        pending_period_grant, pending_rollover_cap, pending_at, funded_until, next_due_at,
        low_balance_percent, minimum_charge, version, clock_at
    ) = (
        p_account.available, p_account.reserved, p_account.overage, p_account.overdraft_limit,
        p_account.lapsed, p_account.monthly, p_account.bonus,
        p_account.granted_total, p_account.spent_total, p_account.expired_total,
        p_account.clawed_back_total, p_account.spent_at_period_start,
        p_account.period_start, p_account.period_end, p_account.anchor_day,
        p_account.period_grant, p_account.rollover_cap, p_account.rollover_withheld,
        p_account.pending_period_grant, p_account.pending_rollover_cap, p_account.pending_at,
        p_account.funded_until, p_account.next_due_at,
        p_account.low_balance_percent, p_account.minimum_charge,
        p_account.version, p_account.clock_at
    )
    where a.account_id = p_account.account_id;

    if p_account.period_grant = -1 then
        return;
    end if;
    if v_stored.headroom >= p_account.minimum_charge and v_headroom < p_account.minimum_charge then
        perform events.emit(p_account.account_id, p_account.version, 'credits.depleted',
            jsonb_build_object('remaining', v_after), p_account.clock_at);
    elsif v_headroom >= p_account.minimum_charge
        and v_low > 0 and v_stored.before >= v_low and v_after < v_low
    then
        perform events.emit(p_account.account_id, p_account.version, 'credits.low_balance',
            jsonb_build_object('remaining', v_after, 'threshold', v_low),
            p_account.clock_at);
    end if;
end
$$;
