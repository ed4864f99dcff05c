-- identity.revoke_api_key: a key stops working, at the latest when caches turn over.
--
-- locks     the key
-- refuses   NFOUN
-- replays   a key that is revoked stays so, with its first time
-- ends in   itself
create or replace function identity.revoke_api_key(p_id uuid, p_project_id uuid default null)
returns table (id uuid, secret_hash bytea, revoked_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
begin
    return query
        update identity.api_keys as k
        set revoked_at = coalesce(k.revoked_at, core.clock())
        where k.id = p_id and (p_project_id is null or k.project_id = p_project_id)
        returning k.id, k.secret_hash, k.revoked_at;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'key', 'id', p_id));
    end if;
end
$$;
grant execute on function identity.revoke_api_key to exchequer_app;
