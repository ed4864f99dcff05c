-- credits._audit_marks: what an earlier audit saw is still behind what stands now.
--
-- An account never goes back behind its mark. At the mark's version its figures are those of
-- the mark, by the account itself as long as it stands there, by the ledger ever after.
create or replace function credits._audit_marks(p_marks credits.audit_marks[])
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select k.account_id, 'mark', f.subject, f.expected, f.actual
    from unnest(p_marks) as m
    join credits.audit_marks as k on k.account_id = m.account_id
    join credits.accounts as a on a.account_id = k.account_id
    left join lateral (
        select t.version,
            t.available_after::numeric + t.reserved_after - t.overage_after as net
        from credits.transactions as t
        where t.account_id = k.account_id and t.version <= k.version
        order by t.version desc
        limit 1
    ) as t on true
    cross join lateral (values
        (
            a.version >= k.version,
            'account', format('at least version %s', k.version), format('%s', a.version)
        ),
        (
            a.version <> k.version
                or (a.available, a.reserved, a.overage, a.monthly, a.bonus, a.granted_total,
                    a.spent_total, a.expired_total, a.clawed_back_total)
                = (k.available, k.reserved, k.overage, k.monthly, k.bonus, k.granted_total,
                    k.spent_total, k.expired_total, k.clawed_back_total),
            'account',
            format('at version %s available %s, reserved %s, overage %s, monthly %s, bonus %s,'
                ' sums %s, %s, %s, %s', k.version, k.available, k.reserved, k.overage,
                k.monthly, k.bonus, k.granted_total, k.spent_total, k.expired_total,
                k.clawed_back_total),
            format('at version %s available %s, reserved %s, overage %s, monthly %s, bonus %s,'
                ' sums %s, %s, %s, %s', a.version, a.available, a.reserved, a.overage,
                a.monthly, a.bonus, a.granted_total, a.spent_total, a.expired_total,
                a.clawed_back_total)
        ),
        (
            coalesce(t.net, 0) = k.available::numeric + k.reserved - k.overage,
            coalesce('transaction ' || t.version, 'account'),
            format('%s in all at version %s',
                k.available::numeric + k.reserved - k.overage, k.version),
            coalesce(t.net, 0)::text
        )
    ) as f (holds, subject, expected, actual)
    where f.holds is not true;
end
$$;

-- A mark that has no account any more, or more than one, is all that is left to tell of it.
create or replace function credits._audit_marked_accounts(p_first uuid, p_last uuid)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select k.account_id, 'mark', 'account', 'one account', count(a.account_id)::text
    from credits.audit_marks as k
    left join credits.accounts as a on a.account_id = k.account_id
    where k.account_id between p_first and p_last
    group by k.account_id
    having count(a.account_id) <> 1;
end
$$;
