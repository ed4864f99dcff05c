-- Checks that the functions of single requests share; each refuses by SQLSTATE.

create or replace function credits._invalid(p_field text, p_reason text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    perform core.refuse('XINPT', jsonb_build_object('field', p_field, 'reason', p_reason));
end
$$;

create or replace function credits._check_amount(p_amount bigint)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_amount is null or p_amount not between 1 and 1000000000000000000 then
        perform credits._invalid('amount', 'must be above 0 and at most 10^12 credits');
    end if;
end
$$;

create or replace function credits._check_key(p_idempotency_key text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_idempotency_key is null or length(p_idempotency_key) not between 1 and 255 then
        perform credits._invalid('idempotencyKey', 'must have 1 to 255 characters');
    end if;
end
$$;

-- As many grants as are open are looked at by each charge.
create or replace function credits._check_open_grants(p_account_id uuid)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if 1000 <= (
        select count(*)
        from credits.grants as g
        where g.account_id = p_account_id and g.state <> 'closed'
    ) then
        perform credits._invalid('grants', 'must be fewer than 1000 that are not used up:'
            || ' give more at once, or with an end');
    end if;
end
$$;

create or replace function credits._duplicate(p_idempotency_key text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    perform core.refuse('IDEMX', jsonb_build_object('idempotencyKey', p_idempotency_key));
end
$$;

-- What a request asked for, as a digest: the same key must come with the same one.
create or replace function credits._fingerprint(p_request jsonb)
returns bytea
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select sha256(convert_to(p_request::text, 'UTF8')) $$;
