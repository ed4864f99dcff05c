-- credits.void_grant: take a grant back, as far as reservations leave it.
--
-- Takes the grant's unreserved rest. What is missing is reported; what of it was spent, or
-- is reserved, becomes overage where asked: for disputes, or where the project's policy
-- says so. What expired unused or was taken out before is missing, but nobody owes it. A
-- grant that is not yet effective is canceled whole.
--
-- locks     the account
-- refuses   NOACC, NOGRT, XINPT, IDEMX, XLIMT
-- replays   the same key and request answer what was taken the first time
-- ends in   itself
create or replace function credits.void_grant(
    p_account_id uuid,
    p_grant_id uuid,
    p_idempotency_key text,
    p_amount bigint default null,
    p_missing_becomes_overage boolean default false,
    p_reason text default null,
    p_actor credits.actor default null
)
returns table (
    grant_id uuid, requested bigint, taken bigint, overage_added bigint, missing bigint,
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
    v_void credits.grant_voids;
    v_replayed boolean;
    v_whole bigint;
    v_fingerprint bytea := credits._fingerprint(jsonb_build_array(
        p_grant_id, p_amount, p_missing_becomes_overage));
begin
    perform credits._check_key(p_idempotency_key);
    if p_amount is not null then
        perform credits._check_amount(p_amount);
    end if;
    v_account := credits._sweep(credits._lock(p_account_id));
    if v_account.next_due_at <= v_account.clock_at then
        perform credits._save(v_account);
        return;
    end if;
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;

    select v.* into v_void
    from credits.grant_voids as v
    where v.account_id = p_account_id and v.idempotency_key = p_idempotency_key;
    v_replayed := found;
    if v_replayed and v_void.fingerprint <> v_fingerprint then
        perform credits._duplicate(p_idempotency_key);
    end if;

    if not v_replayed then
        select g.* into v_grant
        from credits.grants as g
        where g.account_id = p_account_id and g.id = p_grant_id;
        if not found then
            perform core.refuse('NOGRT', jsonb_build_object('grantId', p_grant_id));
        end if;
        select v_grant.amount - coalesce(sum(v.requested), 0)::bigint into v_whole
        from credits.grant_voids as v
        where v.account_id = p_account_id and v.grant_id = p_grant_id;
        if v_whole = 0 or p_amount > v_whole
            or (v_grant.state = 'scheduled' and p_amount < v_whole)
        then
            perform credits._invalid('amount', format(
                'must be at most the %s micro-credits of the grant not yet taken back%s',
                v_whole, case when v_grant.state = 'scheduled' then ', and all of them' else '' end
            ));
        end if;

        v_void.account_id := p_account_id;
        v_void.idempotency_key := p_idempotency_key;
        v_void.grant_id := p_grant_id;
        v_void.fingerprint := v_fingerprint;
        v_void.requested := coalesce(p_amount, v_whole);
        v_void.reason := p_reason;
        v_void.actor_kind := (p_actor).kind;
        v_void.actor_id := (p_actor).id;
        v_void.actor_label := (p_actor).label;
        v_void.created_at := v_account.clock_at;
        v_account := credits._void(v_account, v_grant, v_void,
            p_missing_becomes_overage or (
                select p.clawback_creates_overage
                from credits.policies as p
                where p.project_id = v_account.project_id),
            p_actor);
        select v.* into v_void
        from credits.grant_voids as v
        where v.account_id = p_account_id and v.idempotency_key = p_idempotency_key;
    end if;
    perform credits._save(v_account);
    return query
        select v_void.grant_id, v_void.requested::bigint, v_void.taken::bigint,
            v_void.overage_added::bigint, v_void.missing::bigint, v_replayed, v_void.version,
            v_version_before, b.*
        from credits._balance(v_account) as b;
end
$$;

-- Carry out one void and write it down with its result.
create or replace function credits._void(
    p_account credits.accounts,
    p_grant credits.grants,
    p_void credits.grant_voids,
    p_missing_becomes_overage boolean,
    p_actor credits.actor
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_void credits.grant_voids := p_void;
begin
    if p_grant.state = 'scheduled' then
        update credits.grants as g
        set state = 'closed', remaining = 0
        where g.account_id = p_grant.account_id and g.id = p_grant.id;
        v_account := credits._note_change(v_account, 'cancel_grant',
            jsonb_build_object('grantId', p_grant.id, 'amount', p_grant.amount), null,
            v_account.clock_at, p_reason => v_void.reason, p_actor => p_actor);
        v_void.taken := v_void.requested;
        v_void.version := v_account.version;
    else
        v_void.taken := case when p_grant.state = 'live' then least(
            v_void.requested,
            p_grant.remaining - credits._keep(p_grant)
        ) else 0 end;
        if v_void.taken > 0 then
            v_account := credits._take(v_account, p_grant.id, v_void.taken, 'void',
                'void_grant', v_account.clock_at, v_void.reason, p_actor);
            v_void.version := v_account.version;
        end if;
    end if;

    v_void.overage_added := 0;
    if p_missing_becomes_overage and p_grant.state <> 'scheduled' then
        -- Other grants may have paid for what then expired of this one.
        select greatest(0, least(
            v_void.requested - v_void.taken,
            p_grant.amount - p_grant.forfeited - v_void.taken
                - coalesce(sum(v.overage_added), 0)))::bigint
        into v_void.overage_added
        from credits.grant_voids as v
        where v.account_id = p_grant.account_id and v.grant_id = p_grant.id;
    end if;
    if v_void.overage_added > 0 then
        v_account := credits._claw_back(v_account, v_void.overage_added, 'void', 'void_grant',
            p_grant.id, v_void.reason, p_actor);
        v_void.version := v_account.version;
    end if;
    v_void.missing := v_void.requested - v_void.taken - v_void.overage_added;
    v_account.next_due_at := credits._next_due(v_account);
    insert into credits.grant_voids select v_void.*;
    return v_account;
end
$$;
grant execute on function credits.void_grant to exchequer_app;
