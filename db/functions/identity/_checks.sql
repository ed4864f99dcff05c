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
