-- credits.release_many: give reserved credits back on several accounts, where all is plain.
--
-- Takes up to 256 requests; request i is of account i. An account is decided here if nobody
-- holds it, nothing has come due or lapsed on it, it owes nothing, and each request is of a
-- pending reservation of its own. Then all accounts are written by one statement. Of any other
-- account nothing is written. Where somebody holds it, its requests are answered BUSY and may
-- be asked again; else no row is answered: send them to credits.release, which decides them one
-- by one. The last row of an account that is decided carries its balance.
--
-- How rows are found and written: see credits._lock.
--
-- locks     the accounts that nobody holds; waits for none
-- refuses   BUSY, for requests of an account that somebody holds
-- replays   nothing: what is closed is for credits.release to answer
-- ends in   itself
create or replace function credits.release_many(
    p_account_ids uuid[],
    p_requests credits.release_request[]
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
declare
    v_free uuid[];
    v_held bigint[];
    v_now timestamptz;
begin
    select l.free, l.held into v_free, v_held
    from credits._lock_free(p_account_ids, cardinality(p_requests)) as l;
    -- Once, and after the locks, however the statement below is planned.
    v_now := core.clock();
    return query
    with asked as (
        select
            u.*,
            lag(u.reservation_id) over (
                partition by u.account_id order by u.reservation_id
            ) is not distinct from u.reservation_id as is_twin
        from unnest(p_account_ids, p_requests) with ordinality as u (
            account_id, reservation_id, reason, ordinal
        )
        where u.account_id = any (v_free)
    ),
    found as (
        select
            q.*,
            a.account_tid, a.version, a.available, a.reserved, a.overage, a.overdraft_limit,
            a.monthly, a.bonus, a.spent_total - a.spent_at_period_start as used,
            a.period_grant, a.period_start, a.period_end,
            greatest(v_now, a.clock_at) as at,
            r.tid, r.amount,
            (
                not q.is_twin
                and r.status = 'pending'
                and coalesce(length(q.reason), 0) <= 1000
                and a.next_due_at > greatest(v_now, a.clock_at)
                and a.lapsed = 0
                and a.overage = 0
            ) is true as is_plain
        from asked as q
        cross join lateral (
            select a.ctid as account_tid, a.*
            from credits.accounts as a
            where a.account_id = q.account_id
            offset 0
        ) as a
        left join lateral (
            select r.ctid as tid, r.*
            from credits.reservations as r
            where r.account_id = q.account_id
                and r.id = q.reservation_id
                and (r.account_id, r.id) >= (q.account_id, q.reservation_id)
            offset 0
        ) as r on true
    ),
    plain as materialized (
        select p.*, p.version + p.place as closed_version, p.held_sum::bigint as held
        from (
            select
                f.*,
                row_number() over (partition by f.account_id order by f.ordinal) as place,
                count(*) over whole as places,
                sum(f.amount) over whole as held_sum,
                bool_and(f.is_plain) over whole as are_plain
            from found as f
            window whole as (
                partition by f.account_id order by f.ordinal
                rows between unbounded preceding and unbounded following)
        ) as p
        where p.are_plain
    ),
    closed as (
        update credits.reservations as r
        set status = 'released',
            release_reason = p.reason,
            closed_version = p.closed_version,
            closed_at = p.at
        from plain as p
        where r.ctid = p.tid
    ),
    moved as (
        -- How full the account is does not change: what is reserved counts as its own.
        update credits.accounts as a
        set available = a.available + p.held,
            reserved = a.reserved - p.held,
            version = a.version + p.places,
            clock_at = p.at
        from plain as p
        where p.place = p.places and a.ctid = p.account_tid
    )
    select
        p.ordinal, 'OK', null::jsonb, false,
        p.reservation_id, 'released', p.amount::bigint,
        p.closed_version, p.version,
        b.*
    from plain as p
    left join lateral credits._figures(
        p.account_id, p.closed_version,
        p.available + p.held, p.reserved - p.held,
        p.overage, p.overdraft_limit, p.monthly, p.bonus, p.used,
        p.period_grant, p.period_start, p.period_end
    ) as b on p.place = p.places
    order by p.ordinal;
    -- Of the others some are held: that is told by their places.
    outcome := 'BUSY';
    replayed := false;
    foreach ordinal in array v_held loop
        return next;
    end loop;
end
$$;
grant execute on function credits.release_many to exchequer_app;
