-- credits.set_policy: the credit rules of a project, and the terms new accounts begin with.
--
-- Null keeps what is; a project without a policy begins with the defaults. Accounts that
-- exist keep their terms.
--
-- locks     the project's policy
-- refuses   NFOUN (no such project), XINPT
-- replays   the same values again change nothing
-- ends in   credits.open_account, credits.from_cost
create or replace function credits.set_policy(
    p_project_id uuid,
    p_nanodollars_per_credit bigint default null,
    p_increment bigint default null,
    p_minimum_charge bigint default null,
    p_period_grant bigint default null,
    p_welcome_grant bigint default null,
    p_rollover_cap bigint default null,
    p_overdraft_limit bigint default null,
    p_low_balance_percent int default null,
    p_clawback_creates_overage boolean default null,
    p_settle_limit_factor int default null,
    p_settle_limit_floor bigint default null
)
returns table (
    project_id uuid, nanodollars_per_credit bigint, increment bigint, minimum_charge bigint,
    period_grant bigint, welcome_grant bigint, rollover_cap bigint, overdraft_limit bigint,
    low_balance_percent int, clawback_creates_overage boolean,
    settle_limit_factor int, settle_limit_floor bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
begin
    if p_nanodollars_per_credit not between 1 and 1000000000000000 then
        perform credits._invalid('creditPrice', 'must be above 0 and at most $1,000,000');
    end if;
    if p_increment not between 1 and 1000000000000 then
        perform credits._invalid('increment', 'must be above 0 and at most 10^6 credits');
    end if;
    if p_minimum_charge not between 0 and 1000000000000 then
        perform credits._invalid('minimumCharge', 'must be from 0 to 10^6 credits');
    end if;
    if p_period_grant not between -1 and 1000000000000000 then
        perform credits._invalid('allowance', 'must be -1 (unlimited) or from 0 to 10^9 credits');
    end if;
    if least(p_welcome_grant, p_rollover_cap, p_overdraft_limit) < 0
        or greatest(p_welcome_grant, p_rollover_cap, p_overdraft_limit) > 1000000000000000
    then
        perform credits._invalid('defaults', 'must be from 0 to 10^9 credits');
    end if;
    if p_settle_limit_factor not between 1 and 1000000 then
        perform credits._invalid('settleLimitFactor', 'must be from 1 to 10^6');
    end if;
    if p_settle_limit_floor not between 0 and 1000000000000000 then
        perform credits._invalid('settleLimitFloor', 'must be from 0 to 10^9 credits');
    end if;
    if p_low_balance_percent not between 10 and 50 then
        perform credits._invalid('lowBalancePercent', 'must be from 10 to 50');
    end if;

    begin
        insert into credits.policies (project_id) values (p_project_id)
        on conflict on constraint policies_pkey do nothing;
    exception
        when foreign_key_violation or not_null_violation then
            perform core.refuse('NFOUN',
                jsonb_build_object('kind', 'project', 'id', p_project_id));
    end;
    return query
        update credits.policies as p
        set nanodollars_per_credit =
                coalesce(p_nanodollars_per_credit, p.nanodollars_per_credit),
            increment = coalesce(p_increment, p.increment),
            minimum_charge = coalesce(p_minimum_charge, p.minimum_charge),
            period_grant = coalesce(p_period_grant, p.period_grant),
            welcome_grant = coalesce(p_welcome_grant, p.welcome_grant),
            rollover_cap = coalesce(p_rollover_cap, p.rollover_cap),
            overdraft_limit = coalesce(p_overdraft_limit, p.overdraft_limit),
            low_balance_percent = coalesce(p_low_balance_percent, p.low_balance_percent),
            clawback_creates_overage =
                coalesce(p_clawback_creates_overage, p.clawback_creates_overage),
            settle_limit_factor = coalesce(p_settle_limit_factor, p.settle_limit_factor),
            settle_limit_floor = coalesce(p_settle_limit_floor, p.settle_limit_floor)
        where p.project_id = p_project_id
        returning p.project_id, p.nanodollars_per_credit, p.increment::bigint,
            p.minimum_charge::bigint, p.period_grant::bigint, p.welcome_grant::bigint,
            p.rollover_cap::bigint, p.overdraft_limit::bigint,
            p.low_balance_percent::int, p.clawback_creates_overage,
            p.settle_limit_factor, p.settle_limit_floor::bigint;
end
$$;
grant execute on function credits.set_policy to exchequer_app;
