-- inference._cost: what a provider takes for a call, in nanodollars; null where it has no price.
--
-- Rounded up once. So much is absurd that no call comes near it: it stands for all that is more.
create or replace function inference._cost(
    p_project_id uuid, p_model text, p_price_version int,
    p_input bigint, p_cached_input bigint, p_output bigint
)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select least(1000000000000000, ceil((
        (p_input - p_cached_input)::numeric * p.input_nanodollars
        + p_cached_input::numeric * p.cached_input_nanodollars
        + p_output::numeric * p.output_nanodollars
    ) / 1000000))::bigint
    from catalog.model_prices as p
    where p.project_id = p_project_id and p.model_key = p_model and p.version = p_price_version
$$;

-- inference._credits: what a call costs its customer, in micro-credits.
--
-- By what the model costs, or by its own rate for a thousand tokens, rounded up to the project's
-- increment, at least its minimum charge. Nothing used is nothing charged.
create or replace function inference._credits(
    p_project_id uuid, p_rate bigint, p_cost bigint, p_tokens bigint
)
returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_policy credits.policies;
    v_exact numeric;
begin
    if p_rate is null then
        return credits.from_cost(p_project_id, p_cost);
    elsif p_tokens = 0 then
        return 0;
    end if;
    select p.* into strict v_policy
    from credits.policies as p
    where p.project_id = p_project_id;
    v_exact := least(1000000000000000000, p_tokens::numeric * p_rate / 1000);
    return greatest(
        v_policy.minimum_charge,
        (ceil(v_exact / v_policy.increment) * v_policy.increment)::bigint);
end
$$;
