-- identity.set_allowed_origins: from which pages a project's keys may be used.
--
-- The list replaces the one before. Each process believes what it last read for a while.
--
-- locks     the project
-- refuses   NFOUN, XINPT
-- replays   the same origins again change nothing
-- ends in   itself
create or replace function identity.set_allowed_origins(p_project_id uuid, p_origins text[])
returns table (
    id uuid, slug text, name text, status text, created_at timestamptz,
    allowed_origins text[], replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_project identity.projects;
    v_replayed boolean;
begin
    perform identity._check_origins(p_origins);
    select p.* into v_project
    from identity.projects as p
    where p.id = p_project_id and p.status = 'active'
    for no key update;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;
    v_replayed := v_project.allowed_origins = p_origins;
    if not v_replayed then
        update identity.projects as p
        set allowed_origins = p_origins, updated_at = core.clock()
        where p.id = p_project_id
        returning p.* into v_project;
    end if;
    return query
        select v_project.id, v_project.slug, v_project.name, v_project.status,
            v_project.created_at, v_project.allowed_origins, v_replayed;
end
$$;
grant execute on function identity.set_allowed_origins to exchequer_app;
