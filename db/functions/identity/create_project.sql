-- identity.create_project: a tenant with its credit policy and an empty catalog.
--
-- locks     nothing that exists
-- refuses   KCONF (the slug is taken), XINPT
-- replays   through core.idempotency_keys, by its caller
-- ends in   identity.create_organization, identity.create_api_key
create or replace function identity.create_project(
    p_slug text,
    p_name text
)
returns table (id uuid, slug text, name text, status text, created_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_project identity.projects;
begin
    if coalesce(p_slug, '') !~ '^[a-z0-9][a-z0-9-]{0,62}$' then
        perform identity._invalid('slug',
            'must have 1 to 63 lowercase letters, digits and hyphens, a hyphen never first');
    end if;
    perform identity._check_name(p_name);
    insert into identity.projects (id, slug, name, created_at, updated_at)
    values (core.uuidv7(), p_slug, p_name, core.clock(), core.clock())
    on conflict on constraint projects_slug_key do nothing
    returning projects.* into v_project;
    if not found then
        perform core.refuse('KCONF', '{"field": "slug"}');
    end if;
    perform credits.set_policy(v_project.id);
    perform catalog._open(v_project.id);
    return query
        select v_project.id, v_project.slug, v_project.name, v_project.status,
            v_project.created_at;
end
$$;
grant execute on function identity.create_project to exchequer_app;
