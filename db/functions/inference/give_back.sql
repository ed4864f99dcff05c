-- inference.give_back: calls that no model answered cost nothing, and count for no limit.
--
-- Takes up to 256 requests for one account, decides each in turn.
--
-- locks     the account, then the calls
-- refuses   NOACC; as outcome: RESERVATION_NOT_FOUND, RESERVATION_SETTLED, VALIDATION_ERROR, BUSY
-- replays   what was given back stays as it is
-- ends in   itself
create or replace function inference.give_back(
    p_account_id uuid,
    p_requests inference.give_back_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint,
    version bigint, version_before bigint,
    account_id uuid, balance_version bigint,
    available bigint, reserved bigint, spendable bigint, overage bigint, overdraft_limit bigint,
    granted bigint, monthly bigint, bonus bigint,
    used_this_period bigint, remaining bigint, total bigint, usage_basis_points bigint,
    period_grant bigint, period_start timestamptz, period_end timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
set plan_cache_mode = 'force_generic_plan' set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    perform credits._assert_set(cardinality(p_requests), 256);
    return query
    with asked as materialized (
        select u.*, c.id
        from unnest(p_requests) with ordinality
            as u (call_id, error, status_code, latency_ms, ordinal)
        left join inference.calls as c on c.account_id = p_account_id and c.id = u.call_id
    ),
    released as materialized (
        select r.*
        from credits.release(p_account_id, array(
            select row(a.id, a.error)::credits.release_request
            from asked as a
            order by a.ordinal
        )) as r
    ),
    closed as (
        update inference.calls as c
        set state = 'released', outcome = 'failed', error = a.error,
            status_code = a.status_code, latency_ms = a.latency_ms, closed_at = core.clock()
        from released as r
        join asked as a using (ordinal)
        where r.outcome = 'OK'
            and c.account_id = p_account_id and c.id = a.id and c.state = 'open'
    )
    select
        r.ordinal, r.outcome, inference._told(r.facts, a.call_id), r.replayed, r.reservation_id,
        r.status, r.amount, r.version, r.version_before,
        r.account_id, r.balance_version, r.available, r.reserved, r.spendable, r.overage,
        r.overdraft_limit, r.granted, r.monthly, r.bonus, r.used_this_period, r.remaining,
        r.total, r.usage_basis_points, r.period_grant, r.period_start, r.period_end
    from released as r
    join asked as a using (ordinal)
    order by r.ordinal;
end
$$;
grant execute on function inference.give_back to exchequer_app;
