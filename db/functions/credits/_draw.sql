-- credits._draw: take amounts out of an account's grants, in draw-down order.
--
-- Priority, earliest expiry (none last), promotional before paid, oldest, id. What is left
-- of lapsed grants goes first, but only for whom it was kept: a reservation that was opened
-- before (`p_opened_at`) and is still open.
--
-- Demand and supply are laid end to end on one line; where an amount and a grant
-- overlap, that much is drawn. What no grant covers is drawn from nothing: it is the
-- account's overage. Answers one row for each amount, in order.
create or replace function credits._draw(
    p_account_id uuid,
    p_amounts bigint[],
    p_opened_at timestamptz default null,
    p_forfeits boolean default false
)
returns table (
    ordinal bigint, grant_ids uuid[], amounts bigint[],
    monthly bigint, bonus bigint, lapsed bigint
)
language sql volatile set search_path = pg_catalog, pg_temp
as $$
    with demand as (
        select
            d.ordinal,
            d.amount,
            (sum(d.amount) over (order by d.ordinal))::bigint as upto
        from unnest(p_amounts) with ordinality as d (amount, ordinal)
    ),
    supply as (
        select
            g.id,
            g.pool,
            g.state,
            g.remaining,
            (sum(g.remaining) over line)::bigint as upto
        from credits.grants as g
        where g.account_id = p_account_id
            and g.remaining > 0
            and (g.state = 'live' or (g.state = 'lapsed' and g.expires_at > p_opened_at))
        window line as (
            order by
                g.state = 'live',
                case when g.state = 'lapsed' then g.expires_at end,
                g.priority, g.expires_at nulls last, g.category = 'paid', g.created_at, g.id
        )
    ),
    drawn as (
        select
            d.ordinal,
            s.id,
            s.pool,
            s.state,
            s.upto,
            least(d.upto, s.upto)
            - greatest(d.upto - d.amount, s.upto - s.remaining) as amount
        from demand as d
        join supply as s
            on d.amount > 0 and d.upto - d.amount < s.upto and d.upto > s.upto - s.remaining
    ),
    taken as (
        update credits.grants as g
        set remaining = g.remaining - t.amount,
            forfeited = g.forfeited + case when p_forfeits then t.amount else 0 end,
            state = case when g.remaining = t.amount then 'closed' else g.state end
        from (
            select w.id, sum(w.amount)::bigint as amount from drawn as w group by w.id
        ) as t
        where g.account_id = p_account_id and g.id = t.id
    )
    select
        d.ordinal,
        array_agg(w.id order by w.upto) filter (where w.id is not null),
        array_agg(w.amount order by w.upto) filter (where w.id is not null),
        coalesce(sum(w.amount) filter (where w.pool = 'monthly'), 0)::bigint,
        coalesce(sum(w.amount) filter (where w.pool = 'bonus'), 0)::bigint,
        coalesce(sum(w.amount) filter (where w.state = 'lapsed'), 0)::bigint
    from demand as d
    left join drawn as w on w.ordinal = d.ordinal
    group by d.ordinal
    order by d.ordinal
$$;
