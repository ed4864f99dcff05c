-- catalog.archive_plan: a plan that is not sold any more, or is again.
--
-- Who has it keeps it. It is not edited while it is archived, and nobody gets it by default:
-- the default is to be another one first.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project or plan), XINPT (it is the default)
-- replays   what is so already changes nothing
-- ends in   itself
create or replace function catalog.archive_plan(
    p_project_id uuid,
    p_plan_key text,
    p_is_archived boolean,
    p_actor credits.actor default null
)
returns table (
    key text, kind text, name text, description text, rank int, version int,
    archived_at timestamptz, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_plan catalog.plans;
    v_before jsonb;
    v_version int;
    v_replayed boolean;
begin
    perform catalog._lock(p_project_id);
    select p.* into v_plan
    from catalog.plans as p
    where p.project_id = p_project_id and p.key = p_plan_key;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'plan', 'id', p_plan_key));
    end if;
    v_version := catalog._current_version(p_project_id, p_plan_key);
    v_replayed := (v_plan.archived_at is not null) = p_is_archived;
    if not v_replayed then
        if p_is_archived and exists (
            select from catalog.settings as s
            where s.project_id = p_project_id and s.default_plan_key = p_plan_key
        ) then
            perform catalog._invalid('key', 'must not be the default plan: set another first');
        end if;
        v_before := catalog._plan_told(v_plan, v_version);
        update catalog.plans as p
        set archived_at = case when p_is_archived then core.clock() end,
            updated_at = core.clock()
        where p.project_id = p_project_id and p.key = p_plan_key
        returning p.* into v_plan;
        perform catalog._note_change(
            p_project_id, 'plan', p_plan_key, v_before,
            catalog._plan_told(v_plan, v_version), p_actor);
    end if;
    return query
        select v_plan.key, v_plan.kind, v_plan.name, v_plan.description, v_plan.rank,
            v_version, v_plan.archived_at, v_replayed;
end
$$;
grant execute on function catalog.archive_plan to exchequer_app;
