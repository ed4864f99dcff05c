-- credits._audit_ledger: the ledger by itself, row by row.
--
-- What an account has in all (available + reserved - overage) changes from row to row by
-- exactly the row's amount, begins at nothing and ends in the account's figures.
--
-- Beside it run two sums: what was spent with no grant behind it, and what the grants have
-- left. A grant that arrives pays the first before all else; and nothing is spent from
-- nowhere while grants have more left than reservations hold.
create or replace function credits._audit_ledger(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    -- Kept, because what a row drew is asked for more than once.
    with booked as materialized (
        select
            t.account_id, t.version, t.type, t.operation, t.amount,
            t.available_after, t.reserved_after, t.overage_after,
            t.grant_id, t.drawn_grant_ids,
            t.available_after::numeric + t.reserved_after - t.overage_after as net,
            coalesce((select sum(d.amount) from unnest(t.drawn_amounts) as d (amount)), 0)
                as drawn,
            0::numeric as unfunded,
            0::numeric as left_in_grants,
            false as is_mark
        from credits._audit_read_ledger(p_marks) as t
        union all
        -- What the rows up to the mark came to.
        select
            m.account_id, m.version, null, null, 0, m.available, m.reserved, m.overage,
            null, null, m.available::numeric + m.reserved - m.overage, 0,
            m.monthly::numeric + m.bonus + m.overage - m.available - m.reserved,
            m.monthly::numeric + m.bonus,
            true
        from unnest(p_marks) as m
        where m.marked_at is not null
    ),
    line as (
        select
            b.account_id, b.version, b.type, b.operation, b.amount,
            b.available_after, b.reserved_after, b.overage_after,
            b.grant_id, b.drawn_grant_ids, b.net, b.drawn, b.is_mark,
            b.net - lag(b.net, 1, 0::numeric) over line as moved,
            lead(b.version) over line is null as is_last,
            sum(b.unfunded + greatest(-b.amount, 0) - b.drawn) over line as unfunded,
            sum(b.left_in_grants + greatest(b.amount, 0) - b.drawn) over line
                as left_in_grants
        from booked as b
        window line as (partition by b.account_id order by b.version)
    ),
    judged as (
        select
            l.*,
            l.amount > 0 as gives,
            -- A row that gives pays what was unfunded before it.
            greatest(0, least(l.amount, l.unfunded + l.drawn)) as owed,
            case
                when l.type in ('consumption', 'expiration', 'void') then l.amount < 0
                when l.type in ('admin_adjustment', 'plan_change', 'reversal')
                    then l.amount <> 0
                else l.amount > 0
            end as has_sign,
            case
                when l.amount > 0 then
                    l.drawn_grant_ids is null or l.drawn_grant_ids = array[l.grant_id]
                when l.type in ('expiration', 'plan_change') then
                    l.drawn_grant_ids = array[l.grant_id] and l.drawn = -l.amount
                when l.type = 'admin_adjustment' then
                    l.drawn = -l.amount
                else l.drawn <= -l.amount
            end is true as is_drawn,
            -- What expires on time or is taken out or back was not reserved: it leaves no debt.
            l.overage_after = 0
                or l.amount >= 0
                or not (l.type in ('admin_adjustment', 'plan_change')
                    or l.operation = 'expire_grant') as is_free
        from line as l
    ),
    debts as (
        select
            j.*,
            row_number() over (partition by j.account_id order by j.version) as place
        from judged as j
        where not j.is_mark
            and (
                (j.gives and j.drawn <> j.owed)
                or (not j.gives and j.drawn < -j.amount
                    and j.left_in_grants > j.reserved_after)
            )
    )
    select j.account_id, f.invariant, 'transaction ' || j.version, f.expected, f.actual
    from judged as j
    cross join lateral (values
        ('chain', j.moved = j.amount, j.amount::text, j.moved::text),
        ('sign', j.has_sign, 'the sign of ' || j.type, j.amount::text),
        (
            'not_negative',
            least(j.available_after, j.reserved_after, j.overage_after) >= 0,
            'at least 0',
            least(j.available_after, j.reserved_after, j.overage_after)::text
        ),
        (
            'one_sided', j.available_after = 0 or j.overage_after = 0,
            'available or overage',
            format('available %s, overage %s', j.available_after, j.overage_after)
        ),
        (
            'drawn', j.is_drawn,
            format('what %s of %s draws, from grant %s', j.type, j.amount, j.grant_id),
            format('%s from %s', j.drawn, j.drawn_grant_ids)
        ),
        ('unreserved', j.is_free, 'no overage after it', j.overage_after::text)
    ) as f (invariant, holds, expected, actual)
    where not j.is_mark
        and not (
            j.moved = j.amount and j.has_sign and j.is_drawn and j.is_free
            and (j.available_after = 0 or j.overage_after = 0)
            and least(j.available_after, j.reserved_after, j.overage_after) >= 0
        )
        and not f.holds
    union all
    -- Once out of step, every later row would say the same: the first one is named.
    select d.account_id, 'debt', 'transaction ' || d.version,
        case when d.gives then format('%s drawn, for what was unfunded', d.owed)
            else format('%s drawn, for grants have %s left', -d.amount, d.left_in_grants) end,
        format('%s drawn', d.drawn)
    from debts as d
    where d.place = 1
    union all
    select j.account_id, 'chain', 'account', j.net::text,
        (a.available::numeric + a.reserved - a.overage)::text
    from judged as j
    join credits.accounts as a on a.account_id = j.account_id
    where j.is_last and a.available::numeric + a.reserved - a.overage <> j.net;
end
$$;
