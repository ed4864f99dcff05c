-- credits.newer_balances: of some accounts, the balances that are newer than known.
--
-- One question for all accounts a process watches: what a lost push left behind heals.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself
create or replace function credits.newer_balances(p_account_ids uuid[], p_versions bigint[])
returns table (
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select b.*
    from unnest(p_account_ids, p_versions) as k (account_id, version)
    join credits.accounts as a on a.account_id = k.account_id and a.version > k.version
    cross join lateral credits._balance(a) as b
$$;
grant execute on function credits.newer_balances to exchequer_app;
