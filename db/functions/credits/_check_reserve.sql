-- credits._check_reserve: what is wrong with a request to reserve; null if nothing.
create or replace function credits._check_reserve(p_key text, p_amount bigint, p_ttl_seconds int)
returns jsonb
language sql immutable parallel safe
as $$
    select case
        when p_amount is null or p_amount not between 1 and 1000000000000000000 then
            '{"field": "amount", "reason": "must be above 0 and at most 10^12 credits"}'::jsonb
        when p_key is null or length(p_key) not between 1 and 255 then
            '{"field": "idempotencyKey", "reason": "must have 1 to 255 characters"}'::jsonb
        when p_ttl_seconds is null or p_ttl_seconds not between 1 and 86400 then
            '{"field": "ttlSeconds", "reason": "must be from 1 to 86400"}'::jsonb
    end
$$;
