-- credits.forgive_overage: what an account owes for work that is done is let go.
--
-- Only true debt: what open reservations hold beyond the grants is not owed yet.
-- Written as a grant that pays it.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX, XLIMT
-- replays   the same key and request answer the first row
-- ends in   itself
create or replace function credits.forgive_overage(
    p_account_id uuid,
    p_idempotency_key text,
    p_reason text,
    p_amount bigint default null,
    p_actor credits.actor default null
)
returns table (
    amount bigint, replayed boolean, version bigint, version_before bigint,
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
    v_owed bigint;
    v_amount bigint;
    v_version bigint;
    v_seen bytea;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(p_amount));
begin
    perform credits._check_key(p_idempotency_key);
    if p_amount is not null then
        perform credits._check_amount(p_amount);
    end if;
    if coalesce(length(p_reason), 0) not between 1 and 1000 then
        perform credits._invalid('reason', 'must have 1 to 1000 characters');
    end if;
    v_account := credits._lock(p_account_id);
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    select g.fingerprint, g.amount, g.version into v_seen, v_amount, v_version
    from credits.grants as g
    where g.account_id = p_account_id
        and g.operation = 'forgive_overage' and g.idempotency_key = p_idempotency_key;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null then
        v_owed := v_account.monthly + v_account.bonus + v_account.overage
            - v_account.available - v_account.reserved;
        v_amount := coalesce(p_amount, v_owed);
        if v_amount > v_owed or v_amount = 0 then
            perform credits._invalid('amount', format(
                'must be at most the %s micro-credits that are owed', v_owed));
        end if;
        v_account := credits._give(
            v_account, 'forgive_overage', 'reversal', 'promotional', 50, v_amount,
            v_account.clock_at, null, p_idempotency_key, v_fingerprint,
            p_reason => p_reason, p_actor => p_actor);
        v_version := v_account.version;
    end if;
    perform credits._save(v_account);
    return query
        select v_amount, v_seen is not null, v_version, v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.forgive_overage to exchequer_app;
