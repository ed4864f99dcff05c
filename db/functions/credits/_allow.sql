-- credits._allow: the allowance of the period changes, by the difference.
--
-- More: what the period's plan grants fall short of the new allowance is granted.
-- Less: what is left beyond "new allowance less what was used of it" is taken back,
-- as far as reservations do not hold it; used credits stay used, nothing turns
-- negative. A period that is not paid for is neither granted nor taken back; one that is
-- paid for late is granted what it should have begun with, roll-over included.
--
-- An allowance of -1 is unlimited: credits are granted in blocks so large that one
-- lasts, and another follows when it does not.
create or replace function credits._allow(
    p_account credits.accounts,
    p_period_grant bigint,
    p_rollover_cap bigint,
    p_at timestamptz,
    p_actor credits.actor default null,
    p_reason text default null
)
returns credits.accounts
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_account credits.accounts := p_account;
    v_target bigint := case when p_period_grant = -1
        then credits._unlimited_block() else p_period_grant end;
    v_rollover bigint;
    v_given bigint;
    v_rest bigint;
    v_surplus bigint;
    v_grant credits.grants;
    v_part bigint;
begin
    v_account.period_grant := p_period_grant;
    v_account.rollover_cap := p_rollover_cap;
    if v_account.funded_until is not null
        and v_account.period_start >= v_account.funded_until
    then
        return v_account;
    end if;

    v_rollover := case when p_period_grant = -1 then 0
        else least(v_account.rollover_withheld, credits._room(v_account)) end;
    v_account.rollover_withheld := 0;
    if v_rollover > 0 then
        v_account := credits._give(
            v_account, 'set_allowance', 'rollover', 'paid', 10, v_rollover, p_at,
            v_account.period_end, p_reason => p_reason, p_actor => p_actor);
    end if;

    select
        coalesce(sum(g.amount), 0)::bigint
        + coalesce((
            select sum(t.amount)
            from credits.transactions as t
            where t.account_id = p_account.account_id
                and t.type = 'plan_change'
                and t.amount < 0
                and t.grant_id = any(array_agg(g.id))
        ), 0)::bigint,
        coalesce(sum(g.remaining), 0)::bigint
    into v_given, v_rest
    from credits.grants as g
    where g.account_id = p_account.account_id
        and g.source in ('plan_allocation', 'plan_change')
        and g.version is not null
        and g.effective_at >= v_account.period_start;

    if v_target > v_given then
        return credits._give(
            v_account, 'set_allowance',
            case when v_given = 0 then 'plan_allocation' else 'plan_change' end,
            'paid', 10, v_target - v_given, p_at, v_account.period_end, p_reason => p_reason, p_actor => p_actor);
    end if;

    v_surplus := v_rest - greatest(0, v_target - (v_given - v_rest));
    for v_grant in
        select g.*
        from credits.grants as g
        where g.account_id = p_account.account_id
            and g.source in ('plan_allocation', 'plan_change')
            and g.state = 'live'
            and g.effective_at >= v_account.period_start
        order by g.priority desc, g.expires_at desc, g.category = 'paid' desc,
            g.created_at desc, g.id desc
    loop
        v_part := least(v_surplus, v_grant.remaining - credits._keep(v_grant));
        if v_part > 0 then
            v_account := credits._take(
                v_account, v_grant.id, v_part, 'plan_change', 'set_allowance', p_at,
                p_reason, p_actor);
            v_surplus := v_surplus - v_part;
        end if;
    end loop;
    v_account.next_due_at := credits._next_due(v_account);
    return v_account;
end
$$;

-- A thousand million credits: a month of them would cost a million dollars.
create or replace function credits._unlimited_block()
returns bigint
language sql immutable parallel safe
as $$ select 1000000000000000::bigint $$;
