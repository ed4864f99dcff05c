-- credits._lapse: what lapsed grants keep beyond what is still reserved expires.
--
-- Called after each settle, release and expiry of a reservation while anything is
-- lapsed: no credit outlives its grant except for a reservation opened before.
create or replace function credits._lapse(p_account credits.accounts)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_grant credits.grants;
    v_excess bigint;
begin
    for v_grant in
        select g.*
        from credits.grants as g
        where g.account_id = p_account.account_id and g.state = 'lapsed'
        order by g.expires_at, g.priority, g.category = 'paid', g.created_at, g.id
    loop
        v_excess := v_grant.remaining - credits._keep(v_grant, v_grant.expires_at);
        if v_excess > 0 then
            v_account := credits._take(
                v_account, v_grant.id, v_excess, 'expiration', 'lapse', v_account.clock_at);
        end if;
    end loop;
    return v_account;
end
$$;
