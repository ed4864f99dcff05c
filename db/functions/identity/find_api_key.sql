-- identity.find_api_key: who holds a secret, by its hash.
--
-- Answers no row for a key that is unknown, revoked or expired, or whose project is archived.
--
-- locks     nothing
-- refuses   nothing
-- replays   reads
-- ends in   itself
create or replace function identity.find_api_key(p_secret_hash bytea)
returns table (
    id uuid, kind text, project_id uuid, organization_id uuid, name text, scopes text[],
    expires_at timestamptz
)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select k.id, k.kind, k.project_id, k.organization_id, k.name, k.scopes, k.expires_at
    from identity.api_keys as k
    join identity.projects as p on p.id = k.project_id and p.status = 'active'
    where k.secret_hash = p_secret_hash
        and k.revoked_at is null
        and (k.expires_at is null or k.expires_at > core.clock())
$$;
grant execute on function identity.find_api_key to exchequer_app;
