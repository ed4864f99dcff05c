-- credits.issue_grant: give credits: a top-up, a promotion, a referral, an admin's gift.
--
-- Paid or promotional, with a priority and an expiry. Effective at once or at a time to
-- come; of the future it counts nowhere until then. Debt is paid first.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX, XLIMT
-- replays   the same key and request answer the same grant
-- ends in   credits.settle, credits.void_grant, or its expiry
create or replace function credits.issue_grant(
    p_account_id uuid,
    p_amount bigint,
    p_source text,
    p_idempotency_key text,
    p_category text default null,
    p_priority int default 50,
    p_effective_at timestamptz default null,
    p_expires_at timestamptz default null,
    p_source_ref text default null,
    p_reason text default null,
    p_actor credits.actor default null,
    p_metadata jsonb default null
)
returns table (
    grant_id uuid, state text, amount bigint, grant_remaining bigint,
    effective_at timestamptz, expires_at timestamptz,
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
    v_grant credits.grants;
    v_replayed boolean;
    v_category text := coalesce(
        p_category, case when p_source = 'top_up' then 'paid' else 'promotional' end);
    v_effective_at timestamptz;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_amount, p_source, v_category, p_priority, p_effective_at, p_expires_at,
        p_source_ref, p_metadata));
begin
    perform credits._check_key(p_idempotency_key);
    perform credits._check_amount(p_amount);
    if coalesce(p_source, '') not in ('top_up', 'promotional', 'referral', 'admin_adjustment') then
        perform credits._invalid('source',
            'must be top_up, promotional, referral or admin_adjustment');
    end if;
    if v_category not in ('paid', 'promotional') then
        perform credits._invalid('category', 'must be paid or promotional');
    end if;
    if coalesce(p_priority, -1) not between 0 and 100 then
        perform credits._invalid('priority', 'must be from 0 to 100');
    end if;

    v_account := credits._lock(p_account_id);
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    select g.* into v_grant
    from credits.grants as g
    where g.account_id = p_account_id
        and g.operation = 'issue_grant'
        and g.idempotency_key = p_idempotency_key;
    v_replayed := found;
    if v_replayed and v_grant.fingerprint <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if not v_replayed then
        perform credits._check_open_grants(p_account_id);
        v_effective_at := greatest(v_account.clock_at, p_effective_at);
        if p_expires_at <= v_effective_at then
            perform credits._invalid('expiresAt', 'must lie after the grant takes effect');
        end if;
        v_account := credits._give(
            v_account, 'issue_grant', p_source, v_category, p_priority, p_amount,
            v_effective_at, p_expires_at, p_idempotency_key, v_fingerprint,
            p_source_ref, null, p_reason, p_actor, p_metadata);
        select g.* into v_grant
        from credits.grants as g
        where g.account_id = p_account_id
            and g.operation = 'issue_grant'
            and g.idempotency_key = p_idempotency_key;
    end if;
    perform credits._save(v_account);
    return query
        select v_grant.id, v_grant.state, v_grant.amount::bigint, v_grant.remaining::bigint,
            v_grant.effective_at, v_grant.expires_at, v_replayed, v_grant.version,
            v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.issue_grant to exchequer_app;
