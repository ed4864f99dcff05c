-- credits._audit_returns: refunds and voids: what came back, and what was taken back.
create or replace function credits._audit_returns(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- The refunds of one consumption never exceed it.
    return query
    with refunds as (
        select g.account_id, g.refund_of, sum(g.amount) as amount, count(*) as rows,
            min(g.version) as first
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        where g.refund_of is not null
        group by g.account_id, g.refund_of, m.version
        having coalesce(max(g.version) > m.version, true)
    )
    select f.account_id, 'refund', 'transaction ' || f.refund_of,
        case when t.version is null then 'a consumption before its refund'
            else format('refunds of at most %s', -t.amount) end,
        case when t.version is null then 'none' else f.amount::text end
    from refunds as f
    left join lateral (
        select t.version, t.amount
        from credits.transactions as t
        where t.account_id = f.account_id
            and t.version = f.refund_of
            and t.type = 'consumption'
            and t.version < f.first
        -- Row by row: see credits._audit_read_ledger.
        offset 0
    ) as t on true
    where (f.amount <= -t.amount) is not true;

    -- A void adds up, and of one grant no more is asked back than it had. What was taken and
    -- what became debt are ledger rows of their own, the debt the later of the two. Taken is
    -- only what was not reserved: it leaves no debt. A grant canceled before it took effect is
    -- a change instead.
    return query
    with voids as (
        select v.*, g.amount as given, g.version as given_version, g.state,
            sum(v.requested) over (partition by v.account_id, v.grant_id) as requested_in_all
        from unnest(p_marks) as m
        join credits.grant_voids as v on v.account_id = m.account_id
        left join credits.grants as g on g.account_id = v.account_id and g.id = v.grant_id
    )
    select v.account_id, 'void', 'void ' || v.idempotency_key,
        format('taken, owed and missing add up, of a grant of %s', v.given),
        format('%s = %s + %s + %s, %s in all, version %s', v.requested, v.taken,
            v.overage_added, v.missing, v.requested_in_all, v.version)
    from voids as v
    where (
            v.requested::numeric = v.taken::numeric + v.overage_added + v.missing
            and v.requested > 0
            and least(v.taken, v.overage_added, v.missing) >= 0
            and v.requested_in_all <= v.given
            and (v.version is null) = (v.taken = 0 and v.overage_added = 0)
            and (
                v.given_version is not null
                or (v.state = 'closed' and v.taken = v.given and v.version is not null)
            )
        ) is not true;

    return query
    with said as (
        select v.account_id, v.idempotency_key, v.grant_id, w.version, w.amount, w.is_taken,
            row_number() over (
                partition by v.account_id, w.version order by v.idempotency_key) as place
        from unnest(p_marks) as m
        join credits.grant_voids as v on v.account_id = m.account_id
        join credits.grants as g
            on g.account_id = v.account_id and g.id = v.grant_id and g.version is not null
        cross join lateral (values
            (v.version::numeric - (v.overage_added > 0)::int, v.taken, true),
            (v.version, v.overage_added, false)
        ) as w (version, amount, is_taken)
        where w.amount > 0 and w.version > m.version
    ),
    booked as (
        select t.account_id, t.version, t.grant_id, t.amount, t.operation, t.drawn_grant_ids,
            t.drawn_amounts, t.overage_after
        from credits._audit_read_ledger(p_marks) as t
        where t.type = 'void'
    )
    select
        coalesce(s.account_id, b.account_id), 'void',
        case when s.grant_id is null then 'transaction ' || b.version
            else 'void ' || s.idempotency_key end,
        case when s.grant_id is null then 'a void'
            else format('%s at version %s of grant %s', s.amount, s.version, s.grant_id) end,
        case when b.version is null or s.grant_id is null then 'none, or another''s'
            else format('%s at version %s of grant %s, drawn %s, overage %s', -b.amount,
                b.version, b.grant_id, b.drawn_amounts, b.overage_after) end
    from said as s
    full join booked as b
        on b.account_id = s.account_id and b.version = s.version and b.grant_id = s.grant_id
            and s.place = 1
    where (
            b.amount = -s.amount
            and b.operation = 'void_grant'
            and (not s.is_taken or (
                b.drawn_grant_ids = array[s.grant_id]
                and b.drawn_amounts = array[s.amount::bigint]
                and b.overage_after = 0
            ))
        ) is not true;

    return query
    with canceled as (
        select g.account_id, g.id, g.amount, v.version
        from unnest(p_marks) as m
        join credits.grants as g on g.account_id = m.account_id
        left join credits.grant_voids as v
            on v.account_id = g.account_id and v.grant_id = g.id
        where g.version is null and g.state = 'closed'
    ),
    noted as (
        select c.account_id, c.version, c.before, c.after
        from unnest(p_marks) as m
        join credits.account_changes as c on c.account_id = m.account_id
        where c.operation = 'cancel_grant'
    )
    select
        coalesce(g.account_id, n.account_id), 'cancel',
        case when g.id is null then 'change ' || n.version else 'grant ' || g.id end,
        case when g.id is null then 'a grant and its void'
            else format('a change and a void of %s at version %s', g.amount, g.version) end,
        format('%s to %s', coalesce(n.before::text, 'none'), coalesce(n.after::text, 'none'))
    from canceled as g
    full join noted as n on n.account_id = g.account_id and n.version = g.version
    where (
            n.before = jsonb_build_object('grantId', g.id, 'amount', g.amount)
            and n.after is null
        ) is not true;
end
$$;
