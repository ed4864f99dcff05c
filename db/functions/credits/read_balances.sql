-- credits.read_balances: the balances of some accounts, in one question.
--
-- Where `due` is true something has fallen due since; call credits.catch_up and believe
-- that. An account that does not exist has no row.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself
create or replace function credits.read_balances(p_account_ids uuid[])
returns table (
    due boolean,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select a.next_due_at <= core.clock(), b.*
    from credits.accounts as a
    cross join lateral credits._balance(a) as b
    where a.account_id = any(p_account_ids)
$$;
grant execute on function credits.read_balances to exchequer_app;
