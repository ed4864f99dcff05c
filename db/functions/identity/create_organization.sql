-- identity.create_organization: who pays, with its credit account opened.
--
-- An organization with an external reference is created once: asked for again, the one
-- that exists is answered.
--
-- locks     the new account
-- refuses   NFOUN (no such project), KCONF (the reference names another kind), XINPT
-- replays   by external reference; otherwise through core.idempotency_keys, by its caller
-- ends in   itself
create or replace function identity.create_organization(
    p_project_id uuid,
    p_name text,
    p_kind text default 'team',
    p_external_ref text default null,
    p_actor credits.actor default null
)
returns table (
    id uuid, project_id uuid, name text, kind text, external_ref text, status text,
    created_at timestamptz, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
    v_organization identity.organizations;
    v_replayed boolean := false;
begin
    perform identity._check_name(p_name);
    if p_kind not in ('personal', 'team') then
        perform identity._invalid('kind', 'must be personal or team');
    end if;
    if length(p_external_ref) not between 1 and 255 then
        perform identity._invalid('externalRef', 'must have 1 to 255 characters');
    end if;
    if not exists (
        select from identity.projects as p where p.id = p_project_id and p.status = 'active'
    ) then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;

    insert into identity.organizations (
        id, project_id, name, kind, external_ref, created_at, updated_at
    ) values (
        core.uuidv7(), p_project_id, p_name, p_kind, p_external_ref, core.clock(), core.clock()
    )
    on conflict (project_id, external_ref) where external_ref is not null do nothing
    returning organizations.* into v_organization;
    if not found then
        v_replayed := true;
        select o.* into strict v_organization
        from identity.organizations as o
        where o.project_id = p_project_id and o.external_ref = p_external_ref;
        if v_organization.kind <> p_kind then
            perform core.refuse('KCONF', '{"field": "externalRef"}');
        end if;
    end if;
    perform credits.open_account(v_organization.id, p_project_id, p_actor => p_actor);
    return query
        select v_organization.id, v_organization.project_id, v_organization.name,
            v_organization.kind, v_organization.external_ref, v_organization.status,
            v_organization.created_at, v_replayed;
end
$$;
grant execute on function identity.create_organization to exchequer_app;
