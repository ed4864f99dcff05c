-- credits._lapse: what lapsed grants keep beyond what is still reserved expires.
--
-- Called after reservations were closed while anything is lapsed: no credit outlives its
-- grant except for a reservation opened before. Each grant keeps what the reservations of
-- its time held, less what was left of the grants that lapsed before it.
create or replace function credits._lapse(p_account credits.accounts)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_ahead bigint := 0;
    v_keep bigint;
    v_grant record;
begin
    for v_grant in
        select g.id, g.remaining, credits._held(g.account_id, g.expires_at) as held
        from credits.grants as g
        where g.account_id = p_account.account_id and g.state = 'lapsed'
        order by g.expires_at, g.priority, g.category = 'paid', g.created_at, g.id
    loop
        v_keep := greatest(0, least(v_grant.remaining, v_grant.held - v_ahead));
        if v_grant.remaining > v_keep then
            v_account := credits._take(
                v_account, v_grant.id, v_grant.remaining - v_keep, 'expiration', 'lapse',
                v_account.clock_at);
        end if;
        v_ahead := v_ahead + v_keep;
    end loop;
    return v_account;
end
$$;
