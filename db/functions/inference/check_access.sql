-- inference.check_access: whether an organization may make a call, and what would help.
--
-- Advice, not permission: inference.open decides. One row: allowed, or the first reason in the
-- order in which it is decided, with what is open, the limits with what is used of them, what the
-- call is estimated at, and the plans that would open it.
--
-- locks     nothing
-- refuses   NFOUN, NOACC
-- replays   reads
-- ends in   inference.open
create or replace function inference.check_access(
    p_organization_id uuid, p_feature text, p_quality text default null,
    p_model text default null, p_end_customer_ref text default null,
    p_related_id text default null
)
returns table (
    is_allowed boolean, reason text, plan_key text, plan_version int,
    quality text, model text, estimate bigint, spendable bigint, shortfall bigint,
    period_end timestamptz, due boolean, limits jsonb, levels jsonb, opening_plans text[]
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_access inference.access;
    v_account record;
    v_reached jsonb;
    v_now timestamptz := core.clock();
begin
    v_access := inference._access(
        catalog._plan_of(p_organization_id), p_feature, p_quality, p_model);
    plan_key := v_access.plan_key;
    plan_version := v_access.plan_version;
    quality := v_access.quality;
    model := v_access.model;
    reason := v_access.reason;
    levels := inference._told_levels(v_access.opened);
    limits := '[]';
    if (v_access.opened).feature_key is not null then
        limits := inference._told_limits(
            p_organization_id, v_access, p_end_customer_ref, p_related_id, v_now);
    end if;
    if reason is null then
        v_reached := inference._limit_reached(
            p_organization_id, v_access, p_end_customer_ref, p_related_id, v_now);
        if v_reached is not null then
            reason := case v_reached ->> 'limit'
                when 'per_customer_day' then 'customer_limit_exceeded'
                else 'rate_limited'
            end;
        end if;
    end if;

    select p.minimum_charge as at_least, c.* into v_account
    from credits.policies as p
    cross join lateral credits.check_balance(
        p_organization_id,
        greatest(1, p.minimum_charge, ceil(
            v_access.base_estimate::numeric * v_access.multiplier_basis_points / 10000)::bigint)
    ) as c
    where p.project_id = v_access.project_id;
    if (v_access.opened).feature_key is not null then
        estimate := v_account.required;
        shortfall := v_account.shortfall;
    end if;
    spendable := v_account.spendable;
    period_end := v_account.period_end;
    due := v_account.due;
    if reason is null and not v_account.can_proceed then
        reason := 'insufficient_credits';
    end if;
    is_allowed := reason is null;
    opening_plans := case
        when reason in ('plan_not_active', 'not_in_plan', 'plan_feature_disabled',
            'quality_not_allowed', 'model_not_allowed', 'rate_limited') then
            inference._opening_plans(v_access, p_quality, p_model)
        else array[]::text[]
    end;
    return next;
end
$$;
grant execute on function inference.check_access to exchequer_app;
