-- inference.extend: a stream goes on: reserve for so many tokens in all, and for longer.
--
-- Takes up to 256 requests for one account, each with what has been written so far: if the
-- process is gone, that much is known. Requests may be repeated and overtake each other.
--
-- locks     the account, then the calls
-- refuses   NOACC; as outcome: VALIDATION_ERROR, RESERVATION_NOT_FOUND, RESERVATION_SETTLED,
--           RESERVATION_RELEASED, RESERVATION_EXPIRED, INSUFFICIENT_CREDITS, BUSY
-- replays   what is reached already stays as it is
-- ends in   inference.close or inference.give_back
create or replace function inference.extend(
    p_account_id uuid,
    p_requests inference.extend_request[]
)
returns table (
    ordinal bigint, outcome text, facts jsonb, replayed boolean,
    reservation_id uuid, status text, amount bigint, expires_at timestamptz,
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
        select u.*, c.id, c.output_limit, case when u.tokens is not null and c.id is not null then
            greatest(1, inference._credits(
                c.project_id,
                c.credits_per_1k_tokens,
                inference._cost(c.project_id, c.model, c.price_version,
                    c.prompt_tokens, 0, least(u.tokens, c.output_limit)),
                c.prompt_tokens + least(u.tokens, c.output_limit)))
        end as amount
        from unnest(p_requests) with ordinality
            as u (call_id, tokens, noted_tokens, ttl_seconds, ordinal)
        left join inference.calls as c on c.account_id = p_account_id and c.id = u.call_id
    ),
    extended as materialized (
        select e.*
        from credits.extend(p_account_id, array(
            select row(
                a.id, a.amount, core.clock() + make_interval(secs => a.ttl_seconds)
            )::credits.extend_request
            from asked as a
            order by a.ordinal
        )) as e
    ),
    -- Also who gets no more has written what it has.
    noted as (
        update inference.calls as c
        set noted_tokens = greatest(c.noted_tokens, n.noted_tokens),
            reserved_tokens = greatest(c.reserved_tokens, n.reserved_tokens),
            leased_until = greatest(c.leased_until, n.expires_at)
        from (
            select
                a.id,
                max(a.noted_tokens) as noted_tokens,
                max(least(a.tokens, a.output_limit))
                    filter (where e.outcome = 'OK' and a.tokens is not null) as reserved_tokens,
                max(e.expires_at) as expires_at
            from extended as e
            join asked as a using (ordinal)
            where e.outcome in ('OK', 'INSUFFICIENT_CREDITS')
            group by a.id
        ) as n
        where c.account_id = p_account_id and c.id = n.id and c.state in ('open', 'answered')
    )
    select
        e.ordinal, e.outcome, inference._told(e.facts, a.call_id), e.replayed, e.reservation_id,
        e.status, e.amount, e.expires_at, e.version, e.version_before,
        e.account_id, e.balance_version, e.available, e.reserved, e.spendable, e.overage,
        e.overdraft_limit, e.granted, e.monthly, e.bonus, e.used_this_period, e.remaining,
        e.total, e.usage_basis_points, e.period_grant, e.period_start, e.period_end
    from extended as e
    join asked as a using (ordinal)
    order by e.ordinal;
end
$$;
grant execute on function inference.extend to exchequer_app;
