-- inference._check_open: what is wrong with a request to open; null if nothing.
create or replace function inference._check_open(
    p_key text, p_fingerprint bytea, p_prompt_tokens int, p_output_tokens int,
    p_choices int, p_first_tokens int, p_ttl_seconds int
)
returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select case
        when p_key is null or length(p_key) not between 1 and 255 then
            '{"field": "idempotencyKey", "reason": "must have 1 to 255 characters"}'::jsonb
        when p_fingerprint is null or length(p_fingerprint) <> 32 then
            '{"field": "fingerprint", "reason": "must be a digest of 32 bytes"}'::jsonb
        when p_prompt_tokens is null or p_prompt_tokens not between 0 and 100000000 then
            '{"field": "promptTokens", "reason": "must be from 0 to 10^8"}'::jsonb
        when p_output_tokens not between 0 and 100000000 then
            '{"field": "outputTokens", "reason": "must be from 0 to 10^8"}'::jsonb
        when p_choices is null or p_choices not between 1 and 128 then
            '{"field": "n", "reason": "must be from 1 to 128"}'::jsonb
        when p_first_tokens not between 1 and 100000000 then
            '{"field": "firstTokens", "reason": "must be from 1 to 10^8"}'::jsonb
        when p_ttl_seconds is null or p_ttl_seconds not between 1 and 86400 then
            '{"field": "ttlSeconds", "reason": "must be from 1 to 86400"}'::jsonb
    end
$$;

-- What a provider says it used must be a number of tokens.
create or replace function inference._check_usage(
    p_input bigint, p_cached_input bigint, p_output bigint
)
returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select case
        when p_input is null or p_input < 0 then
            '{"field": "inputTokens", "reason": "must be at least 0"}'::jsonb
        when p_cached_input is null or p_cached_input not between 0 and p_input then
            '{"field": "cachedInputTokens", "reason": "must be from 0 to the input"}'::jsonb
        when p_output is null or p_output < 0 then
            '{"field": "outputTokens", "reason": "must be at least 0"}'::jsonb
        -- Both together must still be a number.
        when greatest(p_input, p_output) > 1000000000000000000 then
            '{"field": "tokens", "reason": "must be at most 10^18"}'::jsonb
    end
$$;

-- Of a call that is not there, its id is told: its reservation was looked for under none.
create or replace function inference._told(p_facts jsonb, p_call_id uuid)
returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
    select case
        when p_facts ? 'reservationId' then
            p_facts || jsonb_build_object('reservationId', p_call_id)
        else p_facts
    end
$$;
