-- credits._balance: what an account row says to the outside.
--
-- The figures of a balance are defined here and nowhere else. Every public function
-- ends with these columns, in this order.
create or replace function credits._balance(p_account credits.accounts)
returns table (
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language sql stable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select
        p_account.account_id,
        p_account.version,
        p_account.available,
        p_account.reserved,
        greatest(0, p_account.available + p_account.overdraft_limit - p_account.overage),
        p_account.overage,
        p_account.overdraft_limit,
        p_account.monthly + p_account.bonus,
        p_account.monthly,
        p_account.bonus,
        f.used,
        f.remaining,
        f.used + f.remaining,
        case when f.used + f.remaining > 0
            then div(f.used::numeric * 10000, f.used + f.remaining)::bigint
            else 0
        end,
        p_account.period_grant,
        p_account.period_start,
        p_account.period_end
    from (
        select
            p_account.spent_total - p_account.spent_at_period_start as used,
            greatest(0, p_account.available + p_account.reserved - p_account.overage)
                as remaining
    ) as f
$$;
