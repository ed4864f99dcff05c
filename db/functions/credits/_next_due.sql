-- credits._next_due: when something of an account falls due next.
create or replace function credits._next_due(p_account credits.accounts)
returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
    select least(
        p_account.period_end,
        p_account.pending_at,
        min(case g.state when 'scheduled' then g.effective_at when 'live' then g.expires_at end)
    )
    from credits.grants as g
    where g.account_id = p_account.account_id and g.state in ('scheduled', 'live')
$$;
