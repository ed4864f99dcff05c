-- credits.expire_reservations: reservations of an account that are past their time.
--
-- Their credits return. At most 1,000 a call, besides those of a catch-up. A settle that
-- comes later still charges.
--
-- locks     the account
-- refuses   NOACC
-- replays   nothing past its time, nothing done
-- ends in   credits.settle, if the caller comes late
create or replace function credits.expire_reservations(p_account_id uuid)
returns table (
    version_before bigint,
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
    v_account credits.accounts;
    v_version_before bigint;
begin
    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    v_account := credits._expire_due(v_account, v_account.clock_at);
    perform credits._save(v_account);
    return query select v_version_before, b.* from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.expire_reservations to exchequer_app;
