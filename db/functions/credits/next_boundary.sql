-- credits.next_boundary: the end of a credit period that begins at an instant.
--
-- A month later, on the anchor day or the month's last day, at the same time of day
-- in UTC: 31 January, 28 February, 31 March. Counted from the anchor, never from a
-- clamped day, so it does not creep.
create or replace function credits.next_boundary(p_from timestamptz, p_anchor_day int)
returns timestamptz
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp
as $$
    select (
        m.first_day
        + least(
            p_anchor_day,
            extract(day from m.first_day + interval '1 month' - interval '1 day')::int
        ) - 1
        + (p_from at time zone 'UTC')::time
    ) at time zone 'UTC'
    from (
        select (date_trunc('month', p_from at time zone 'UTC') + interval '1 month')::date
            as first_day
    ) as m
$$;
grant execute on function credits.next_boundary to exchequer_app;
