-- credits.check_balance: what an account has, and whether an amount could be reserved.
--
-- Advice, not permission: only credits.reserve decides. Reads without a lock. Where
-- `due` is true something has fallen due since; call credits.catch_up and believe that.
--
-- locks     nothing
-- refuses   NOACC
-- replays   reads
-- ends in   itself
create or replace function credits.check_balance(
    p_account_id uuid,
    p_required bigint default 0
)
returns table (
    due boolean, can_proceed boolean, required bigint, shortfall bigint,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_account credits.accounts;
begin
    select a.* into v_account
    from credits.accounts as a
    where a.account_id = p_account_id;
    if not found then
        perform core.refuse('NOACC', jsonb_build_object('accountId', p_account_id));
    end if;
    return query
        select
            v_account.next_due_at <= core.clock(),
            p_required <= 0 or b.spendable >= p_required or u.is_unlimited,
            p_required,
            case when u.is_unlimited then 0 else greatest(0, p_required - b.spendable) end,
            b.*
        from credits._balance(v_account) as b
        cross join lateral (
            -- As far as it is paid for: beyond that, no block is granted.
            select b.period_grant = -1
                and coalesce(b.period_start < v_account.funded_until, true) as is_unlimited
        ) as u;
end
$$;
grant execute on function credits.check_balance to exchequer_app;
