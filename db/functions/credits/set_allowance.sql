-- credits.set_allowance: the terms of an account's monthly grant.
--
-- `now`: the difference for the current period is granted or taken back at once, used
-- credits stay used. `period_end`: takes effect when the period rolls. -1 is unlimited,
-- 0 none. Months are granted only as far as they begin before `funded_until`; null
-- keeps it, infinity means always.
--
-- locks     the account
-- refuses   NOACC, XINPT, IDEMX, XLIMT
-- replays   the same key and request change nothing again
-- ends in   credits.catch_up, at each boundary
create or replace function credits.set_allowance(
    p_account_id uuid,
    p_period_grant bigint,
    p_idempotency_key text,
    p_takes_effect text default 'now',
    p_rollover_cap bigint default null,
    p_funded_until timestamptz default null,
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
    v_account credits.accounts;
    v_version_before bigint;
    v_version bigint;
    v_seen bytea;
    v_at timestamptz;
    v_was_funded boolean;
    v_before jsonb;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_period_grant, p_takes_effect, p_rollover_cap, p_funded_until));
begin
    perform credits._check_key(p_idempotency_key);
    if p_period_grant is null or p_period_grant not between -1 and 1000000000000000 then
        perform credits._invalid('allowance', 'must be -1 (unlimited) or from 0 to 10^9 credits');
    end if;
    if p_rollover_cap not between 0 and 1000000000000000 then
        perform credits._invalid('rolloverCap', 'must be from 0 to 10^9 credits');
    end if;
    if coalesce(p_takes_effect, '') not in ('now', 'period_end') then
        perform credits._invalid('takesEffect', 'must be now or period_end');
    end if;
    v_account := credits._sweep(credits._lock(p_account_id));
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    select c.fingerprint, c.version, coalesce((c.after ->> 'pendingAt')::timestamptz, c.created_at)
    into v_seen, v_version, v_at
    from credits.account_changes as c
    where c.account_id = p_account_id
        and c.operation = 'set_allowance' and c.idempotency_key = p_idempotency_key;
    if v_seen <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if v_seen is null then
        v_before := credits._terms(v_account);
        v_was_funded := coalesce(v_account.period_start < v_account.funded_until, true);
        if p_funded_until is not null then
            v_account.funded_until := nullif(p_funded_until, 'infinity');
        end if;
        if p_takes_effect = 'now' then
            v_at := v_account.clock_at;
            v_account.pending_at := null;
            v_account.pending_period_grant := null;
            v_account.pending_rollover_cap := null;
            v_account := credits._allow(
                v_account, p_period_grant,
                coalesce(p_rollover_cap, v_account.rollover_cap), v_at, p_actor, p_reason);
        else
            if not v_was_funded then
                -- Paid for late: this month is granted by the terms it has.
                v_account := credits._allow(
                    v_account, v_account.period_grant, v_account.rollover_cap,
                    v_account.clock_at, p_actor, p_reason);
            end if;
            v_at := v_account.period_end;
            v_account.pending_at := v_at;
            v_account.pending_period_grant := p_period_grant;
            v_account.pending_rollover_cap := coalesce(p_rollover_cap, v_account.rollover_cap);
        end if;
        v_account := credits._note_change(
            v_account, 'set_allowance', v_before, credits._terms(v_account),
            v_account.clock_at, p_idempotency_key, v_fingerprint, p_reason, p_actor);
        v_version := v_account.version;
        v_account.next_due_at := credits._next_due(v_account);
    end if;
    perform credits._save(v_account);
    return query
        select v_at, v_seen is not null, v_version, v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.set_allowance to exchequer_app;
