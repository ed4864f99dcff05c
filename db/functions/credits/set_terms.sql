-- credits.set_terms: limits and allowance of an account, together or not at all.
--
-- What is null stays. Calls credits.set_limits and credits.set_allowance.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX, XLIMT, 55P03
-- replays   the same key and request change nothing again
-- ends in   credits.catch_up, at each boundary
create or replace function credits.set_terms(
    p_account_id uuid,
    p_idempotency_key text,
    p_overdraft_limit bigint default null,
    p_low_balance_percent int default null,
    p_period_grant bigint default null,
    p_takes_effect text default 'now',
    p_rollover_cap bigint default null,
    p_reason text default null,
    p_actor credits.actor default null
)
returns table (
    takes_effect_at timestamptz, replayed boolean, version bigint, version_before bigint,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_limits record;
    v_allowance record;
begin
    if p_period_grant is null and p_rollover_cap is not null then
        perform credits._invalid('rolloverCap', 'comes with an allowance');
    end if;
    select l.* into v_limits
    from credits.set_limits(
        p_account_id, p_idempotency_key, p_overdraft_limit, p_low_balance_percent,
        p_reason, p_actor) as l;
    if not found then
        return;
    end if;
    -- The key names both: with or without an allowance are two requests.
    if exists (
        select from credits.account_changes as c
        where c.account_id = p_account_id
            and c.operation = 'set_allowance'
            and c.idempotency_key = p_idempotency_key
    ) <> (v_limits.replayed and p_period_grant is not null) then
        perform credits._duplicate(p_idempotency_key);
    end if;
    if p_period_grant is null then
        return query
            select null::timestamptz, v_limits.replayed, v_limits.version,
                v_limits.version_before, b.*
            from credits.accounts as a
            cross join lateral credits._balance(a) as b
            where a.account_id = p_account_id;
        return;
    end if;
    select s.* into v_allowance
    from credits.set_allowance(
        p_account_id, p_period_grant, p_idempotency_key, p_takes_effect, p_rollover_cap,
        null, p_reason, p_actor) as s;
    if not found then
        -- So much fell due in between: together or not at all.
        perform core.refuse('55P03');
    end if;
    return query
        select v_allowance.takes_effect_at, v_limits.replayed, v_allowance.version,
            v_limits.version_before, b.*
        from credits.accounts as a
        cross join lateral credits._balance(a) as b
        where a.account_id = p_account_id;
end
$$;
grant execute on function credits.set_terms to exchequer_app;
