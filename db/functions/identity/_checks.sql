-- Checks that the identity functions share; each refuses by SQLSTATE.

create or replace function identity._invalid(p_field text, p_reason text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    perform core.refuse('XINPT', jsonb_build_object('field', p_field, 'reason', p_reason));
end
$$;

create or replace function identity._check_name(p_name text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_name is null or length(btrim(p_name)) not between 1 and 200 then
        perform identity._invalid('name', 'must have 1 to 200 characters');
    end if;
end
$$;

-- In the form in which browsers send them: they are compared as they are.
create or replace function identity._check_origins(p_origins text[])
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_origins is null or cardinality(p_origins) > 50 then
        perform identity._invalid('allowedOrigins', 'must name at most 50 origins');
    end if;
    if exists (
        select
        from unnest(p_origins) as o (origin)
        where o.origin is null
            or length(o.origin) > 255
            or o.origin !~ '^https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$'
            or o.origin ~ '^(http://.*:80|https://.*:443)$'
    ) then
        perform identity._invalid('allowedOrigins',
            'must be origins such as https://app.example: http or https, a host, perhaps a port');
    end if;
end
$$;
