-- credits._room: how much more an account may ever be granted.
--
-- Lifetime sums stay clear of 2^63, so that no addition can overflow. Grants to come have
-- taken their room already: refused when they come due, they would leave an account that
-- can never be brought up to date again.
create or replace function credits._room(p_account credits.accounts)
returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select greatest(
        0,
        credits._lifetime_limit() - p_account.granted_total - coalesce(sum(g.amount), 0)
    )::bigint
    from credits.grants as g
    where g.account_id = p_account.account_id and g.state = 'scheduled'
$$;
