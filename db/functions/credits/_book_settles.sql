-- credits._book_settles: write down settles that were decided.
--
-- Draws the amounts from the grants, closes the reservations, writes ledger rows (none
-- for zero) and usage records. Answers what was drawn: monthly, bonus, lapsed. `p_opened_at`
-- is that of credits._draw. How rows are found and written: see credits._lock.
create or replace function credits._book_settles(
    p_account_id uuid,
    p_ledger credits.transactions[],
    p_requests credits.settle_request[],
    p_opened_at timestamptz
)
returns bigint[]
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_drawn bigint[];
begin
    with drawn as materialized (
        select d.*
        from credits._draw(
            p_account_id,
            (select array_agg(-l.amount order by l.version) from unnest(p_ledger) as l),
            p_opened_at
        ) as d
    ),
    booked as (
        insert into credits.transactions (
            account_id, version, type, operation, amount,
            available_after, reserved_after, overage_after, reservation_id, estimated,
            drawn_grant_ids, drawn_amounts,
            feature, quality, model, price_version, end_customer_ref,
            related_type, related_id, related_name,
            actor_kind, actor_id, actor_label, metadata, created_at
        )
        select
            l.account_id, l.version, l.type, l.operation, l.amount,
            l.available_after, l.reserved_after, l.overage_after, l.reservation_id, l.estimated,
            d.grant_ids, d.amounts,
            l.feature, l.quality, l.model, l.price_version, l.end_customer_ref,
            l.related_type, l.related_id, l.related_name,
            l.actor_kind, l.actor_id, l.actor_label, l.metadata, l.created_at
        from unnest(p_ledger) with ordinality as l
        join drawn as d on d.ordinal = l.ordinality
        where l.amount <> 0
    )
    select array[sum(d.monthly), sum(d.bonus), sum(d.lapsed)]::bigint[] into v_drawn
    from drawn as d;

    update credits.reservations as r
    set status = 'settled',
        settled_amount = -l.amount,
        settled_version = l.version,
        closed_version = coalesce(r.closed_version, l.version),
        closed_at = coalesce(r.closed_at, l.created_at)
    from unnest(p_ledger) as l
    cross join lateral (
        select o.ctid as tid
        from credits.reservations as o
        where o.account_id = p_account_id
            and o.id = l.reservation_id
            and (o.account_id, o.id) >= (p_account_id, l.reservation_id)
        offset 0
    ) as o
    where r.ctid = o.tid;

    perform usage.record(array_fill(p_account_id, array[cardinality(p_ledger)]), (
        select array_agg(row(
            l.reservation_id, l.version, q.operation, l.feature, l.quality, l.model,
            l.price_version, q.input_tokens, q.output_tokens, q.usage_estimated,
            q.cost_nanodollars, -l.amount, q.status_code, q.latency_ms, q.trace_id,
            l.end_customer_ref, q.metadata, coalesce(q.occurred_at, l.created_at), l.created_at
        )::usage.settled_call order by l.version)
        from unnest(p_ledger) with ordinality as l
        join unnest(p_requests) with ordinality as q (
            reservation_id, amount, operation, model, input_tokens, output_tokens,
            usage_estimated, cost_nanodollars, latency_ms, status_code, trace_id, occurred_at,
            actor, metadata, ordinal
        ) on q.ordinal = l.ordinality
    ));
    return v_drawn;
end
$$;
