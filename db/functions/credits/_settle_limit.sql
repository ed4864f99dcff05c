-- credits._settle_limit: the largest amount a settle of a reservation may plausibly have.
--
-- A hundred times what was reserved, or 10,000 credits, whichever is more; a project's
-- policy may say otherwise.
create or replace function credits._settle_limit(p_project_id uuid, p_reserved bigint)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select greatest(
        least(p_reserved::numeric * p.settle_limit_factor, 1000000000000000000)::bigint,
        p.settle_limit_floor
    )
    from credits.policies as p
    where p.project_id = p_project_id
$$;
