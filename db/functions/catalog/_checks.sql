-- Checks that the catalog functions share; each refuses by SQLSTATE.

create or replace function catalog._invalid(p_field text, p_reason text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    perform core.refuse('XINPT', jsonb_build_object('field', p_field, 'reason', p_reason));
end
$$;

create or replace function catalog._check_key(p_key text)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(p_key, '') !~ '^[a-z][a-z0-9_]{0,62}$' then
        perform catalog._invalid('key',
            'must have 1 to 63 lowercase letters, digits and underscores, a letter first');
    end if;
end
$$;

-- What people read.
create or replace function catalog._check_text(p_field text, p_text text, p_most int)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if length(p_text) > p_most or btrim(p_text) = '' then
        perform catalog._invalid(p_field, format('must have 1 to %s characters', p_most));
    end if;
end
$$;

-- Null is no limit.
create or replace function catalog._check_limit(p_field text, p_limit bigint)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_limit < 0 then
        perform catalog._invalid(p_field, 'must be at least 0, or null for no limit');
    end if;
end
$$;

create or replace function catalog._check_credits(p_field text, p_amount bigint, p_least bigint)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_amount not between p_least and 1000000000000000 then
        perform catalog._invalid(p_field,
            case p_least when -1 then 'must be -1 (unlimited) or from 0 to 10^9 credits'
                when 0 then 'must be from 0 to 10^9 credits'
                else 'must be above 0 and at most 10^9 credits' end);
    end if;
end
$$;

-- A catalog is read whole and kept by every process: each part of it has an end.
create or replace function catalog._check_room(p_field text, p_count bigint, p_most int)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    if p_count >= p_most then
        perform catalog._invalid(p_field, format(
            'there are %s of them already, and there may be no more', p_most));
    end if;
end
$$;
