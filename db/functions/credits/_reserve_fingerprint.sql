-- credits._reserve_fingerprint: what makes a request to reserve the same as another.
create or replace function credits._reserve_fingerprint(
    p_amount bigint, p_ttl_seconds int, p_feature text, p_quality text, p_model text,
    p_price_version text, p_end_customer_ref text, p_related_type text, p_related_id text,
    p_metadata jsonb
)
returns bytea
language sql stable parallel safe
as $$
    select sha256(convert_to(row(
        p_amount, p_ttl_seconds, p_feature, p_quality, p_model, p_price_version,
        p_end_customer_ref, p_related_type, p_related_id, p_metadata)::text, 'UTF8'))
$$;
