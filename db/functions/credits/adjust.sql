-- credits.adjust: an administrator puts credits in or takes credits out, with a reason.
--
-- In: a promotional grant. Out: drawn in draw-down order from what is available; never
-- more than that, and never debt.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX, NOCRD, XLIMT
-- replays   the same key and request answer the first row
-- ends in   itself
create or replace function credits.adjust(
    p_account_id uuid,
    p_amount bigint,
    p_idempotency_key text,
    p_reason text,
    p_expires_at timestamptz default null,
    p_actor credits.actor default null,
    p_metadata jsonb default null
)
returns table (
    amount bigint, grant_id uuid, replayed boolean, version bigint, version_before bigint,
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
    v_grant_id uuid;
    v_version bigint;
    v_seen bytea;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_amount, p_expires_at, p_metadata));
begin
    perform credits._check_key(p_idempotency_key);
    -- The lowest bigint has no opposite.
    perform credits._check_amount(abs(greatest(p_amount, -9223372036854775807)));
    if coalesce(length(p_reason), 0) not between 1 and 1000 then
        perform credits._invalid('reason', 'must have 1 to 1000 characters');
    end if;
    v_account := credits._sweep(credits._lock(p_account_id));
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;

    select g.fingerprint, g.id, g.version into v_seen, v_grant_id, v_version
    from credits.grants as g
    where g.account_id = p_account_id
        and g.operation = 'adjust' and g.idempotency_key = p_idempotency_key;
    if not found then
        select t.fingerprint, t.version into v_seen, v_version
        from credits.transactions as t
        where t.account_id = p_account_id
            and t.operation = 'adjust' and t.idempotency_key = p_idempotency_key;
    end if;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null and p_amount > 0 then
        perform credits._check_open_grants(p_account_id);
        if p_expires_at <= v_account.clock_at then
            perform credits._invalid('expiresAt', 'must lie in the future');
        end if;
        v_account := credits._give(
            v_account, 'adjust', 'admin_adjustment', 'promotional', 50, p_amount,
            v_account.clock_at, p_expires_at, p_idempotency_key, v_fingerprint,
            p_reason => p_reason, p_actor => p_actor, p_metadata => p_metadata);
        select g.id into v_grant_id
        from credits.grants as g
        where g.account_id = p_account_id
            and g.operation = 'adjust' and g.idempotency_key = p_idempotency_key;
        v_version := v_account.version;
    elsif v_seen is null then
        if -p_amount > v_account.available then
            perform core.refuse('NOCRD', jsonb_build_object(
                'required', -p_amount,
                'spendable', v_account.available,
                'shortfall', -p_amount - v_account.available));
        end if;
        v_account := credits._claw_back(
            v_account, -p_amount, 'admin_adjustment', 'adjust', null, p_reason, p_actor,
            p_idempotency_key, v_fingerprint, p_metadata);
        v_version := v_account.version;
    end if;
    perform credits._save(v_account);
    return query
        select p_amount, v_grant_id, v_seen is not null, v_version, v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.adjust to exchequer_app;
