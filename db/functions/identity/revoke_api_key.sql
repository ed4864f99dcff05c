-- identity.revoke_api_key: a key stops working, at the latest when caches turn over.
--
-- `p_project_id` and `p_kind` narrow which keys may be revoked: a project's back-end
-- revokes the keys of its organizations.
--
-- locks     the key
-- refuses   NFOUN
-- replays   a key that is revoked stays so, with its first time
-- ends in   itself
create or replace function identity.revoke_api_key(
    p_id uuid,
    p_project_id uuid default null,
    p_kind text default null
)
returns table (
    id uuid, kind text, project_id uuid, organization_id uuid, name text,
    prefix text, last4 text, scopes text[], created_at timestamptz, expires_at timestamptz,
    revoked_at timestamptz, secret_hash bytea, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_key identity.api_keys;
    v_replayed boolean;
begin
    select k.* into v_key
    from identity.api_keys as k
    where k.id = p_id
        and (p_project_id is null or k.project_id = p_project_id)
        and (p_kind is null or k.kind = p_kind)
    for no key update;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'key', 'id', p_id));
    end if;
    v_replayed := v_key.revoked_at is not null;
    if not v_replayed then
        update identity.api_keys as k
        set revoked_at = core.clock()
        where k.id = p_id
        returning k.* into v_key;
    end if;
    return query
        select v_key.id, v_key.kind, v_key.project_id, v_key.organization_id, v_key.name,
            v_key.prefix, v_key.last4, v_key.scopes, v_key.created_at, v_key.expires_at,
            v_key.revoked_at, v_key.secret_hash, v_replayed;
end
$$;
grant execute on function identity.revoke_api_key to exchequer_app;
