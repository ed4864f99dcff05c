-- usage._audit_orphans: no record without its account, of which credits tells the ids.
create or replace function usage._audit_orphans(
    p_first uuid, p_last uuid, p_account_ids uuid[]
)
returns table (account_id uuid, invariant text, subject text, expected text, actual text)
language plpgsql stable set search_path = pg_catalog, pg_temp
set plan_cache_mode = 'force_custom_plan'
as $$
#variable_conflict use_column
begin
    return query
    select u.account_id, 'usage', 'record ' || u.id,
        format('a settle or deduction of its own at version %s', u.version), 'none'
    from usage.records as u
    where u.account_id between p_first and p_last
        and not exists (select from unnest(p_account_ids) as a (id) where a.id = u.account_id);
end
$$;
