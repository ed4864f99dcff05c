-- credits.open_account: an organization gets its credit account.
--
-- First period, plan grant and welcome grant, by the terms of the project's policy
-- unless they are given. The anchor day is that of the first period's start.
--
-- locks     the account
-- refuses   NFOUN (no policy for the project, no such organization), XINPT
-- replays   an account that exists stays as it is
-- ends in   itself
create or replace function credits.open_account(
    p_account_id uuid,
    p_project_id uuid,
    p_period_grant bigint default null,
    p_welcome_grant bigint default null,
    p_funded_until timestamptz default null,
    p_actor credits.actor default null
)
returns table (
    replayed boolean, version_before bigint,
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
    v_policy credits.policies;
    v_account credits.accounts;
    v_now timestamptz := core.clock();
    v_opened boolean;
    v_version_before bigint;
    v_day int := extract(day from v_now);
begin
    if p_period_grant not between -1 and 1000000000000000 then
        perform credits._invalid('allowance', 'must be -1 (unlimited) or from 0 to 10^9 credits');
    end if;
    if p_welcome_grant not between 0 and 1000000000000000 then
        perform credits._invalid('welcomeGrant', 'must be from 0 to 10^9 credits');
    end if;
    select p.* into v_policy from credits.policies as p where p.project_id = p_project_id;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;

    begin
        insert into credits.accounts (
            account_id, project_id, overdraft_limit, period_start, period_end, anchor_day,
            period_grant, rollover_cap, funded_until, next_due_at,
            low_balance_percent, minimum_charge, clock_at, created_at
        ) values (
            p_account_id, p_project_id, v_policy.overdraft_limit,
            v_now, credits.next_boundary(v_now, v_day), v_day,
            coalesce(p_period_grant, v_policy.period_grant), v_policy.rollover_cap,
            p_funded_until, credits.next_boundary(v_now, v_day),
            v_policy.low_balance_percent, v_policy.minimum_charge, v_now, v_now
        )
        on conflict on constraint accounts_pkey do nothing;
        v_opened := found;
    exception
        when foreign_key_violation or not_null_violation then
            perform core.refuse('NFOUN',
                jsonb_build_object('kind', 'organization', 'id', p_account_id));
    end;

    v_account := credits._lock(p_account_id);
    select a.version into v_version_before
    from credits.accounts as a
    where a.account_id = p_account_id;
    if v_opened then
        v_account := credits._note_change(
            v_account, 'open_account', null, credits._terms(v_account), v_account.clock_at,
            p_actor => p_actor);
        if v_account.period_grant <> 0
            and coalesce(v_account.period_start < v_account.funded_until, true)
        then
            v_account := credits._give(
                v_account, 'open_account', 'plan_allocation', 'paid', 10,
                case when v_account.period_grant = -1
                    then credits._unlimited_block() else v_account.period_grant end,
                v_account.period_start, v_account.period_end, p_actor => p_actor);
        end if;
        if coalesce(p_welcome_grant, v_policy.welcome_grant) > 0 then
            v_account := credits._give(
                v_account, 'open_account', 'promotional', 'promotional', 50,
                coalesce(p_welcome_grant, v_policy.welcome_grant),
                v_account.clock_at, null, p_reason => 'welcome', p_actor => p_actor);
        end if;
        v_account.next_due_at := credits._next_due(v_account);
    end if;
    perform credits._save(v_account);
    return query
        select not v_opened, v_version_before, b.* from credits._balance(v_account) as b;
end
$$;
grant execute on function credits.open_account to exchequer_app;
