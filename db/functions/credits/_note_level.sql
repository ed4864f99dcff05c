-- credits._note_level: how full an account is, and an event when that has become worse.
--
-- `low`: what remains is less than a share of the period's grant. `depleted`: with the
-- overdraft, not even the smallest charge is left. Reserved credits still count: they are
-- upper bounds, most of which returns. Said once for each fall, in the outbox; who rises
-- above a threshold is told again at the next fall. An unlimited account is always ample.

create or replace function credits._low_mark(p_period_grant bigint, p_percent int)
returns bigint
language sql immutable parallel safe
as $$
    select case when p_period_grant > 0
        then div(p_period_grant::numeric * p_percent, 100)::bigint else 0 end
$$;

create or replace function credits._level(
    p_remaining bigint, p_period_grant bigint, p_percent int, p_overdraft_limit bigint,
    p_minimum_charge bigint
)
returns text
language sql immutable parallel safe
as $$
    select case
        when p_period_grant = -1 then 'ample'
        when p_remaining + p_overdraft_limit < p_minimum_charge then 'depleted'
        when credits._low_mark(p_period_grant, p_percent) > greatest(0, p_remaining) then 'low'
        else 'ample'
    end
$$;

create or replace function credits._note_level(p_account credits.accounts, p_at timestamptz)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_remaining bigint := p_account.available + p_account.reserved - p_account.overage;
    v_low bigint := credits._low_mark(p_account.period_grant, p_account.low_balance_percent);
begin
    v_account.level := credits._level(
        v_remaining, p_account.period_grant, p_account.low_balance_percent,
        p_account.overdraft_limit, p_account.minimum_charge);
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
