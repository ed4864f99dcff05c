-- credits._balance: what an account row says to the outside.
--
-- Every public function ends with these columns, in this order. Inlined: neither function
-- has a search path of its own, their callers have theirs pinned.

-- The figures of a balance. They are defined here and nowhere else.
create or replace function credits._figures(
    p_account_id uuid, p_version bigint,
    p_available bigint, p_reserved bigint, p_overage bigint, p_overdraft_limit bigint,
    p_monthly bigint, p_bonus bigint, p_used bigint,
    p_period_grant bigint, p_period_start timestamptz, p_period_end timestamptz
)
returns table (
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language sql immutable parallel safe
as $$
    select
        p_account_id,
        p_version,
        p_available,
        p_reserved,
        greatest(0, p_available + p_overdraft_limit - p_overage),
        p_overage,
        p_overdraft_limit,
        p_monthly + p_bonus,
        p_monthly,
        p_bonus,
        p_used,
        f.remaining,
        p_used + f.remaining,
        case when p_used + f.remaining > 0
            then div(p_used::numeric * 10000, p_used + f.remaining)::bigint
            else 0
        end,
        p_period_grant,
        p_period_start,
        p_period_end
    from (select greatest(0, p_available + p_reserved - p_overage) as remaining) as f
$$;

create or replace function credits._balance(p_account credits.accounts)
returns table (
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language sql stable parallel safe
as $$
    select f.*
    from credits._figures(
        p_account.account_id, p_account.version,
        p_account.available, p_account.reserved,
        p_account.overage, p_account.overdraft_limit,
        p_account.monthly, p_account.bonus,
        p_account.spent_total - p_account.spent_at_period_start,
        p_account.period_grant, p_account.period_start, p_account.period_end
    ) as f
$$;
