-- inference._terms: how a call may be made, or the refusal of it.
--
-- What each of its choices may write is bounded by what was asked, and by the model. Reserved is for all of that,
-- or for the first tokens of a stream.
create or replace function inference._terms(
    p_account_id uuid, p_feature text, p_quality text, p_model text,
    p_end_customer_ref text, p_related_id text,
    p_prompt_tokens int, p_output_tokens int, p_choices int, p_first_tokens int,
    p_now timestamptz
)
returns inference.terms
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_terms inference.terms;
    v_access inference.access;
    v_reached jsonb;
begin
    v_access := inference._access(
        catalog._plan_of(p_account_id), p_feature, p_quality, p_model);
    v_terms.project_id := v_access.project_id;
    v_terms.plan_key := v_access.plan_key;
    v_terms.plan_version := v_access.plan_version;
    if v_access.reason is not null then
        v_terms.outcome := 'FEATURE_DENIED';
        v_terms.facts := jsonb_build_object(
            'reason', v_access.reason, 'feature', p_feature, 'plan', v_access.plan_key);
        return v_terms;
    end if;
    v_reached := inference._limit_reached(
        p_account_id, v_access, p_end_customer_ref, p_related_id, p_now);
    if v_reached is not null then
        v_terms.outcome := 'RATE_LIMITED';
        v_terms.facts := v_reached;
        return v_terms;
    end if;

    v_terms.outcome := 'OK';
    v_terms.quality := v_access.quality;
    v_terms.fallbacks := v_access.fallbacks;
    return inference._priced(
        v_terms, v_access.model, p_prompt_tokens, p_output_tokens, p_choices, p_first_tokens);
end
$$;

-- inference._priced: the same with a model and what it costs as of now.
create or replace function inference._priced(
    p_terms inference.terms, p_model text,
    p_prompt_tokens int, p_output_tokens int, p_choices int, p_first_tokens int
)
returns inference.terms
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    v_terms inference.terms := p_terms;
    v_model catalog.models;
begin
    select m.* into strict v_model
    from catalog.models as m
    where m.project_id = v_terms.project_id and m.key = p_model;
    v_terms.model := p_model;
    v_terms.provider := v_model.provider;
    v_terms.provider_model_id := v_model.provider_model_id;
    v_terms.credits_per_1k_tokens := v_model.credits_per_1k_tokens;
    v_terms.price_version := (
        select max(p.version)
        from catalog.model_prices as p
        where p.project_id = v_terms.project_id and p.model_key = p_model
    );
    v_terms.output_limit := p_choices * least(
        p_output_tokens, v_model.max_output_tokens);
    v_terms.reserved_tokens := least(v_terms.output_limit, p_first_tokens);
    v_terms.amount := greatest(1, inference._credits(
        v_terms.project_id,
        v_terms.credits_per_1k_tokens,
        inference._cost(v_terms.project_id, p_model, v_terms.price_version,
            p_prompt_tokens, 0, v_terms.reserved_tokens),
        p_prompt_tokens + v_terms.reserved_tokens));
    return v_terms;
end
$$;
