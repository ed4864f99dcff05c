-- credits.from_cost: what a provider's cost is in micro-credits.
--
-- By the project's price of a credit, rounded up to its increment, at least its minimum
-- charge; zero cost is zero. Exact: one whole-number division, rounded once.
--
-- locks     nothing
-- refuses   NFOUN (no policy for the project), XINPT
-- replays   reads
-- ends in   credits.settle
create or replace function credits.from_cost(p_project_id uuid, p_cost_nanodollars bigint)
returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
    v_policy credits.policies;
    v_steps numeric;
    v_divisor numeric;
begin
    select p.* into v_policy from credits.policies as p where p.project_id = p_project_id;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;
    if p_cost_nanodollars is null or p_cost_nanodollars < 0 then
        perform credits._invalid('costNanodollars', 'must be at least 0');
    end if;
    if p_cost_nanodollars = 0 then
        return 0;
    end if;
    v_divisor := v_policy.nanodollars_per_credit::numeric * v_policy.increment;
    v_steps := div(p_cost_nanodollars::numeric * 1000000 + v_divisor - 1, v_divisor);
    if v_steps * v_policy.increment > 1000000000000000000 then
        perform credits._invalid('costNanodollars', 'comes to more than 10^12 credits');
    end if;
    return greatest((v_steps * v_policy.increment)::bigint, v_policy.minimum_charge);
end
$$;
grant execute on function credits.from_cost to exchequer_app;
