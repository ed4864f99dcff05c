-- credits.set_limits: how far an account may go, and when it is said to run low.
--
-- Null keeps what is. A lower overdraft limit takes no credits: the debt stays, and
-- nothing can be reserved until it is below the limit again.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX
-- replays   the same key and request change nothing again
-- ends in   itself
create or replace function credits.set_limits(
    p_account_id uuid,
    p_idempotency_key text,
    p_overdraft_limit bigint default null,
    p_low_balance_percent int default null,
    p_reason text default null,
    p_actor credits.actor default null
)
returns table (
    replayed boolean, version bigint, version_before bigint,
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
    v_account credits.accounts;
    v_version_before bigint;
    v_version bigint;
    v_seen bytea;
    v_before jsonb;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_overdraft_limit, p_low_balance_percent));
begin
    perform credits._check_key(p_idempotency_key);
    if p_overdraft_limit not between 0 and 1000000000000000 then
        perform credits._invalid('overdraftLimit', 'must be from 0 to 10^9 credits');
    end if;
    if p_low_balance_percent not between 10 and 50 then
        perform credits._invalid('lowBalancePercent', 'must be from 10 to 50');
    end if;
    v_account := credits._lock(p_account_id);
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    select c.fingerprint, c.version into v_seen, v_version
    from credits.account_changes as c
    where c.account_id = p_account_id
        and c.operation = 'set_limits' and c.idempotency_key = p_idempotency_key;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null then
        v_before := credits._terms(v_account);
        v_account.overdraft_limit := coalesce(p_overdraft_limit, v_account.overdraft_limit);
        v_account.low_balance_percent :=
            coalesce(p_low_balance_percent, v_account.low_balance_percent);
        v_account := credits._note_change(
            v_account, 'set_limits', v_before, credits._terms(v_account),
            v_account.clock_at, p_idempotency_key, v_fingerprint, p_reason, p_actor);
        v_version := v_account.version;
    end if;
    perform credits._save(v_account);
    return query
        select v_seen is not null, v_version, v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.set_limits to exchequer_app;
