-- usage.record: keep what settled calls used; call i is of account i.
--
-- Called by the functions that settle, in their transaction.
create or replace function usage.record(p_account_ids uuid[], p_calls usage.settled_call[])
returns void
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    insert into usage.records (
        account_id, id, reservation_id, version, kind, operation, feature, quality, model,
        price_version, input_tokens, output_tokens, usage_estimated, cost_nanodollars, credits,
        status_code, latency_ms, trace_id, end_customer_ref, metadata, occurred_at, recorded_at
    )
    select
        c.account_id, core.uuidv7(), c.reservation_id, c.version, 'llm', c.operation, c.feature,
        c.quality, c.model, c.price_version, c.input_tokens, c.output_tokens,
        coalesce(c.usage_estimated, false), c.cost_nanodollars, c.credits,
        c.status_code, c.latency_ms, c.trace_id, c.end_customer_ref, c.metadata,
        c.occurred_at, c.recorded_at
    from unnest(p_account_ids, p_calls) as c (
        account_id, reservation_id, version, operation, feature, quality, model, price_version,
        input_tokens, output_tokens, usage_estimated, cost_nanodollars, credits, status_code,
        latency_ms, trace_id, end_customer_ref, metadata, occurred_at, recorded_at
    )
$$;
