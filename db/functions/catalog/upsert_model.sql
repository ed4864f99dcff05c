-- catalog.upsert_model: a model that may answer, made or changed, with what it costs.
--
-- Prices that differ from the last are the model's next version; older ones stay, since calls
-- were charged by them. A model without a price and without credits of its own for a thousand
-- tokens is refused to callers, never free.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project, no such replacement), XINPT
-- replays   the same terms and prices again change nothing
-- ends in   catalog.upsert_plan
create or replace function catalog.upsert_model(
    p_project_id uuid,
    p_terms catalog.model_terms,
    p_price catalog.price_terms default null,
    p_keep boolean default false,
    p_actor credits.actor default null
)
returns table (
    key text, provider text, provider_model_id text, name text, tier text, capabilities text[],
    context_length int, max_output_tokens int, credits_per_1k_tokens bigint,
    is_available boolean, deprecated_at timestamptz, replacement_key text, rank int,
    price_version int, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_model catalog.models;
    v_price catalog.model_prices;
    v_is_known boolean;
    v_before jsonb;
    v_replayed boolean;
begin
    perform catalog._check_model(p_terms, p_price);
    perform catalog._lock(p_project_id);
    perform catalog._check_replacement(p_project_id, p_terms.key, p_terms.replacement_key);
    select m.* into v_model
    from catalog.models as m
    where m.project_id = p_project_id and m.key = p_terms.key;
    v_is_known := found;
    select p.* into v_price
    from catalog.model_prices as p
    where p.project_id = p_project_id and p.model_key = p_terms.key
    order by p.version desc
    limit 1;
    v_before := case when v_is_known then catalog._model_told(v_model, v_price) end;

    v_replayed := v_is_known and (
        p_keep
        or (v_model.provider, v_model.provider_model_id, v_model.name, v_model.tier,
            v_model.capabilities, v_model.context_length, v_model.max_output_tokens,
            v_model.credits_per_1k_tokens::bigint, v_model.is_available,
            v_model.deprecated_at, v_model.replacement_key, v_model.rank)
        is not distinct from (p_terms.provider, p_terms.provider_model_id, p_terms.name,
            p_terms.tier, coalesce(p_terms.capabilities, '{}'), p_terms.context_length,
            p_terms.max_output_tokens, p_terms.credits_per_1k_tokens,
            coalesce(p_terms.is_available, true), p_terms.deprecated_at,
            p_terms.replacement_key, coalesce(p_terms.rank, 0))
    );
    if not v_is_known then
        perform catalog._check_room('key', (
            select count(*) from catalog.models as n where n.project_id = p_project_id
        ), 500);
    end if;
    if not v_replayed then
        insert into catalog.models as m (
            project_id, key, provider, provider_model_id, name, tier, capabilities,
            context_length, max_output_tokens, credits_per_1k_tokens, is_available,
            deprecated_at, replacement_key, rank, created_at, updated_at
        ) values (
            p_project_id, p_terms.key, p_terms.provider, p_terms.provider_model_id,
            p_terms.name, p_terms.tier, coalesce(p_terms.capabilities, '{}'),
            p_terms.context_length, p_terms.max_output_tokens, p_terms.credits_per_1k_tokens,
            coalesce(p_terms.is_available, true), p_terms.deprecated_at,
            p_terms.replacement_key, coalesce(p_terms.rank, 0), core.clock(), core.clock()
        )
        on conflict (project_id, key) do update
        set provider = excluded.provider, provider_model_id = excluded.provider_model_id,
            name = excluded.name, tier = excluded.tier, capabilities = excluded.capabilities,
            context_length = excluded.context_length,
            max_output_tokens = excluded.max_output_tokens,
            credits_per_1k_tokens = excluded.credits_per_1k_tokens,
            is_available = excluded.is_available, deprecated_at = excluded.deprecated_at,
            replacement_key = excluded.replacement_key, rank = excluded.rank,
            updated_at = excluded.updated_at
        returning m.* into v_model;
    end if;
    -- Of a row, `is not null` would ask whether no field is.
    if p_price is distinct from null and not (v_is_known and p_keep) and (
        v_price.input_nanodollars, v_price.cached_input_nanodollars, v_price.output_nanodollars
    ) is distinct from (
        p_price.input_nanodollars, p_price.cached_input_nanodollars, p_price.output_nanodollars
    ) then
        insert into catalog.model_prices (
            project_id, model_key, version, input_nanodollars, cached_input_nanodollars,
            output_nanodollars, source, effective_from
        ) values (
            p_project_id, p_terms.key, coalesce(v_price.version, 0) + 1,
            p_price.input_nanodollars, p_price.cached_input_nanodollars,
            p_price.output_nanodollars, p_price.source, core.clock()
        )
        returning model_prices.* into v_price;
        v_replayed := false;
    end if;
    if not v_replayed then
        perform catalog._note_change(
            p_project_id, 'model', p_terms.key, v_before,
            catalog._model_told(v_model, v_price), p_actor);
    end if;
    return query
        select v_model.key, v_model.provider, v_model.provider_model_id, v_model.name,
            v_model.tier, v_model.capabilities, v_model.context_length,
            v_model.max_output_tokens, v_model.credits_per_1k_tokens::bigint,
            v_model.is_available, v_model.deprecated_at, v_model.replacement_key,
            v_model.rank, v_price.version, v_replayed;
end
$$;
grant execute on function catalog.upsert_model to exchequer_app;

create or replace function catalog._model_told(
    p_model catalog.models, p_price catalog.model_prices
)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select catalog._told(to_jsonb(p_model)) || jsonb_build_object(
        'price_version', p_price.version, 'input_nanodollars', p_price.input_nanodollars,
        'cached_input_nanodollars', p_price.cached_input_nanodollars,
        'output_nanodollars', p_price.output_nanodollars, 'price_source', p_price.source)
$$;

-- Who replaces whom ends somewhere: callers are sent along it.
create or replace function catalog._check_replacement(
    p_project_id uuid, p_key text, p_replacement_key text
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_next text := p_replacement_key;
    v_found text;
begin
    while v_next is not null loop
        if v_next = p_key then
            perform catalog._invalid('replacement',
                'must not lead back to this model by what replaces it');
        end if;
        select m.key, m.replacement_key into v_found, v_next
        from catalog.models as m
        where m.project_id = p_project_id and m.key = v_next;
        if not found then
            perform core.refuse('NFOUN', jsonb_build_object(
                'kind', 'model', 'id', p_replacement_key));
        end if;
    end loop;
end
$$;

-- What can be told of a model without looking at others.
create or replace function catalog._check_model(
    p_terms catalog.model_terms, p_price catalog.price_terms
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(p_terms.key, '') !~ '^[a-z0-9][a-z0-9_.:/-]{0,126}$' then
        perform catalog._invalid('key',
            'must have 1 to 127 lowercase letters, digits and _ . : / -, the first no sign');
    end if;
    perform catalog._check_text('provider', coalesce(p_terms.provider, ''), 63);
    perform catalog._check_text('providerModelId', coalesce(p_terms.provider_model_id, ''), 200);
    perform catalog._check_text('name', coalesce(p_terms.name, ''), 200);
    if p_terms.tier is null or p_terms.tier not in ('fast', 'balanced', 'powerful') then
        perform catalog._invalid('tier', 'must be fast, balanced or powerful');
    end if;
    if not coalesce(p_terms.capabilities, '{}')
        <@ array['text', 'vision', 'function_calling', 'code', 'long_context']
    then
        perform catalog._invalid('capabilities',
            'must be of text, vision, function_calling, code and long_context');
    end if;
    if (p_terms.context_length > 0 and p_terms.max_output_tokens > 0) is not true then
        perform catalog._invalid('contextLength', 'lengths must be above 0');
    end if;
    perform catalog._check_credits('creditsPer1kTokens', p_terms.credits_per_1k_tokens, 1);
    if p_terms.replacement_key = p_terms.key then
        perform catalog._invalid('replacement', 'must be another model');
    end if;
    if p_price is distinct from null then
        if (least(p_price.input_nanodollars, p_price.cached_input_nanodollars,
                p_price.output_nanodollars) >= 0
            and num_nulls(p_price.input_nanodollars, p_price.cached_input_nanodollars,
                p_price.output_nanodollars) = 0) is not true
        then
            perform catalog._invalid('price', 'must have three figures of at least 0');
        end if;
        perform catalog._check_text('priceSource', coalesce(p_price.source, ''), 200);
    end if;
end
$$;
