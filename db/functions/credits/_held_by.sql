-- credits._held_by: what a reservation held at an instant after it was opened.
--
-- What it was extended by since is held from what could be spent then, never from what had
-- lapsed before.
create or replace function credits._held_by(
    p_reservation credits.reservations,
    p_before timestamptz
)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        (
            select e.amount
            from credits.reservation_extensions as e
            where e.account_id = p_reservation.account_id
                and e.reservation_id = p_reservation.id
                and e.created_at < p_before
            order by e.version desc
            limit 1
        ),
        p_reservation.requested_amount
    )::bigint
$$;

-- What reservations that are open now, and were opened before an instant, held at it.
create or replace function credits._held(p_account_id uuid, p_before timestamptz)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select coalesce(sum(
        case when r.amount = r.requested_amount then r.amount
            else credits._held_by(r, p_before) end
    ), 0)::bigint
    from credits.reservations as r
    where r.account_id = p_account_id
        and r.status = 'pending'
        and r.opened_at < p_before
$$;
