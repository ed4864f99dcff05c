-- catalog.set_default_plan: the plan of organizations that have chosen none.
--
-- Null: they have no plan, and what needs one is closed to them.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project or plan), PNACT (the plan is archived)
-- replays   the same plan again changes nothing
-- ends in   itself
create or replace function catalog.set_default_plan(
    p_project_id uuid,
    p_plan_key text,
    p_keep boolean default false,
    p_actor credits.actor default null
)
returns table (default_plan_key text, replayed boolean)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_settings catalog.settings;
    v_archived_at timestamptz;
begin
    perform catalog._lock(p_project_id);
    select s.* into strict v_settings
    from catalog.settings as s
    where s.project_id = p_project_id;
    if v_settings.default_plan_key is not distinct from p_plan_key
        or (p_keep and v_settings.default_plan_key is not null)
    then
        return query select v_settings.default_plan_key, true;
        return;
    end if;
    if p_plan_key is not null then
        select p.archived_at into v_archived_at
        from catalog.plans as p
        where p.project_id = p_project_id and p.key = p_plan_key;
        if not found then
            perform core.refuse('NFOUN', jsonb_build_object('kind', 'plan', 'id', p_plan_key));
        elsif v_archived_at is not null then
            perform core.refuse('PNACT', jsonb_build_object('plan', p_plan_key));
        end if;
    end if;
    update catalog.settings as s
    set default_plan_key = p_plan_key
    where s.project_id = p_project_id;
    perform catalog._note_change(
        p_project_id, 'default_plan', null,
        jsonb_build_object('default_plan_key', v_settings.default_plan_key),
        jsonb_build_object('default_plan_key', p_plan_key), p_actor);
    return query select p_plan_key, false;
end
$$;
grant execute on function catalog.set_default_plan to exchequer_app;
