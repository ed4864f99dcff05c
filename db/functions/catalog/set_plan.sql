-- catalog.set_plan: the plan that an organization has, and with it its monthly credits.
--
-- It has the version that is sold now, and keeps it when others come. Its allowance is the plan's
-- from now on: what the month gives more or less is granted or taken back at once. Without a row
-- here an organization has the default plan, and the allowance that its project gives.
--
-- locks     the account
-- refuses   NFOUN (no such organization or plan), PNACT, NOACC, XLIMT
-- replays   what is so already changes nothing; no row where the account is far behind: ask again
-- ends in   itself
create or replace function catalog.set_plan(
    p_organization_id uuid,
    p_plan_key text,
    p_reason text default null,
    p_actor credits.actor default null
)
returns table (
    plan_key text, plan_version int, replayed boolean, version_before bigint,
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
    v_project_id uuid;
    v_held catalog.organization_plans;
    v_plan catalog.plans;
    v_version catalog.plan_versions;
    v_set record;
begin
    select o.project_id into v_project_id
    from identity.organizations as o
    where o.id = p_organization_id;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object(
            'kind', 'organization', 'id', p_organization_id));
    end if;
    select p.* into v_plan
    from catalog.plans as p
    where p.project_id = v_project_id and p.key = p_plan_key;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'plan', 'id', p_plan_key));
    end if;
    select v.* into strict v_version
    from catalog.plan_versions as v
    where v.project_id = v_project_id and v.plan_key = p_plan_key
        and v.version = catalog._current_version(v_project_id, p_plan_key);
    -- Of two that set it at once the second waits here.
    perform credits._lock(p_organization_id);
    select h.* into v_held
    from catalog.organization_plans as h
    where h.organization_id = p_organization_id;
    if v_held.plan_key = p_plan_key and v_held.version = v_version.version and v_held.is_active
    then
        return query
        select v_held.plan_key, v_held.version, true, b.balance_version, b.*
        from credits.accounts as a
        cross join lateral credits._balance(a) as b
        where a.account_id = p_organization_id;
        return;
    end if;
    if v_plan.archived_at is not null then
        perform core.refuse('PNACT', jsonb_build_object('plan', p_plan_key));
    end if;
    select s.* into v_set
    from credits.set_allowance(
        p_organization_id, v_version.monthly_credits,
        'plan-' || (coalesce(v_held.changes, 0) + 1), 'now', v_version.rollover_cap, null,
        p_reason, p_actor) as s;
    if not found then
        -- More is due on the account than one call may work. That much is done; ask again.
        return;
    end if;
    insert into catalog.organization_plans as h (
        organization_id, project_id, plan_key, version, changes, changed_at
    ) values (
        p_organization_id, v_project_id, p_plan_key, v_version.version, 1, core.clock()
    )
    on conflict (organization_id) do update
    set plan_key = excluded.plan_key, version = excluded.version, is_active = true,
        changes = h.changes + 1, changed_at = excluded.changed_at;
    return query
    select p_plan_key, v_version.version, false, v_set.version_before,
        v_set.account_id, v_set.balance_version, v_set.available, v_set.reserved,
        v_set.spendable, v_set.overage, v_set.overdraft_limit, v_set.granted, v_set.monthly,
        v_set.bonus, v_set.used_this_period, v_set.remaining, v_set.total,
        v_set.usage_basis_points, v_set.period_grant, v_set.period_start, v_set.period_end;
end
$$;
grant execute on function catalog.set_plan to exchequer_app;
