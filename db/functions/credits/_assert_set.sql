-- credits._assert_set: a set has at least one request and no more than its limit.
create or replace function credits._assert_set(p_count int, p_limit int)
returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(p_count, 0) not between 1 and p_limit then
        perform core.refuse('XINPT', jsonb_build_object(
            'field', 'requests', 'reason', format('must be 1 to %s requests', p_limit)));
    end if;
end
$$;
