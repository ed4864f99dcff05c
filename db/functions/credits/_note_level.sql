-- credits._note_level: how full an account is, and an event when that has become worse.
--
-- `low`: what remains is less than a share of the period's grant. `depleted`: with the
-- overdraft, not even the smallest charge is left. Reserved credits still count: they are
-- upper bounds, most of which returns. Said once for each fall, in the outbox; who rises
-- above a threshold is told again at the next fall. An unlimited account is always ample.
create or replace function credits._note_level(p_account credits.accounts, p_at timestamptz)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_remaining bigint := p_account.available + p_account.reserved - p_account.overage;
    v_low bigint := 0;
begin
    if p_account.period_grant > 0 then
        v_low := div(p_account.period_grant::numeric * p_account.low_balance_percent, 100)::bigint;
    end if;
    v_account.level := case
        when p_account.period_grant = -1 then 'ample'
        when v_remaining + p_account.overdraft_limit < p_account.minimum_charge then 'depleted'
        when v_low > 0 and v_remaining < v_low then 'low'
        else 'ample'
    end;
    if v_account.level = 'depleted' and p_account.level <> 'depleted' then
        perform events.emit(p_account.account_id, p_account.version, 'credits.depleted',
            jsonb_build_object('remaining', v_remaining), p_at);
    elsif v_account.level = 'low' and p_account.level = 'ample' then
        perform events.emit(p_account.account_id, p_account.version, 'credits.low_balance',
            jsonb_build_object('remaining', v_remaining, 'threshold', v_low), p_at);
    end if;
    return v_account;
end
$$;
