-- identity.create_api_key: a key of a project's back-end or of an organization.
--
-- Only the hash of the secret comes here; the caller shows the secret once.
--
-- locks     the project, so that keys are counted one at a time
-- refuses   NFOUN, XINPT, KCONF (100 live keys already)
-- replays   through core.idempotency_keys, by its caller
-- ends in   identity.revoke_api_key, or its expiry
create or replace function identity.create_api_key(
    p_kind text,
    p_project_id uuid,
    p_name text,
    p_prefix text,
    p_last4 text,
    p_secret_hash bytea,
    p_organization_id uuid default null,
    p_scopes text[] default '{}',
    p_expires_at timestamptz default null,
    p_created_by text default null
)
returns table (
    id uuid, kind text, project_id uuid, organization_id uuid, name text,
    prefix text, last4 text, scopes text[], created_at timestamptz, expires_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    c_live_keys constant int := 100;
    v_key identity.api_keys;
begin
    perform identity._check_name(p_name);
    if p_kind not in ('project', 'organization')
        or (p_kind = 'organization') <> (p_organization_id is not null)
    then
        perform identity._invalid('kind', 'an organization key names its organization');
    end if;
    if p_expires_at <= core.clock() then
        perform identity._invalid('expiresAt', 'must lie in the future');
    end if;
    perform from identity.projects as p
    where p.id = p_project_id and p.status = 'active'
    for no key update;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;
    if p_organization_id is not null and not exists (
        select from identity.organizations as o
        where o.id = p_organization_id and o.project_id = p_project_id
    ) then
        perform core.refuse('NFOUN',
            jsonb_build_object('kind', 'organization', 'id', p_organization_id));
    end if;
    if c_live_keys <= (
        select count(*)
        from identity.api_keys as k
        where k.project_id = p_project_id
            and k.organization_id is not distinct from p_organization_id
            and k.revoked_at is null
            and (k.expires_at is null or k.expires_at > core.clock())
    ) then
        perform core.refuse('KCONF', '{"field": "keys"}');
    end if;

    insert into identity.api_keys (
        id, kind, project_id, organization_id, name, prefix, last4, secret_hash, scopes,
        created_at, expires_at, created_by
    ) values (
        core.uuidv7(), p_kind, p_project_id, p_organization_id, p_name, p_prefix, p_last4,
        p_secret_hash, p_scopes, core.clock(), p_expires_at, p_created_by
    )
    returning api_keys.* into v_key;
    return query
        select v_key.id, v_key.kind, v_key.project_id, v_key.organization_id, v_key.name,
            v_key.prefix, v_key.last4, v_key.scopes, v_key.created_at, v_key.expires_at;
end
$$;
grant execute on function identity.create_api_key to exchequer_app;
