-- credits._save: write back an account that was locked and changed.
--
-- An account whose version stands is left alone: a refusal costs no write.
create or replace function credits._save(p_account credits.accounts)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts;
begin
    if exists (
        select from credits.accounts as a
        where a.account_id = p_account.account_id
            and a.version = p_account.version
            and a.next_due_at = p_account.next_due_at
    ) then
        return;
    end if;
    v_account := credits._note_level(p_account, p_account.clock_at);

    update credits.accounts as a
    set (
        available, reserved, overage, overdraft_limit, lapsed, monthly, bonus,
        granted_total, spent_total, expired_total, clawed_back_total, spent_at_period_start,
        period_start, period_end, anchor_day, period_grant, rollover_cap, rollover_withheld,
        pending_period_grant, pending_rollover_cap, pending_at, funded_until, next_due_at,
        low_balance_percent, minimum_charge, level, version, clock_at
    ) = (
        v_account.available, v_account.reserved, v_account.overage, v_account.overdraft_limit,
        v_account.lapsed, v_account.monthly, v_account.bonus,
        v_account.granted_total, v_account.spent_total, v_account.expired_total,
        v_account.clawed_back_total, v_account.spent_at_period_start,
        v_account.period_start, v_account.period_end, v_account.anchor_day,
        v_account.period_grant, v_account.rollover_cap, v_account.rollover_withheld,
        v_account.pending_period_grant, v_account.pending_rollover_cap, v_account.pending_at,
        v_account.funded_until, v_account.next_due_at,
        v_account.low_balance_percent, v_account.minimum_charge,
        v_account.level, v_account.version, v_account.clock_at
    )
    where a.account_id = v_account.account_id;
end
$$;
