-- catalog.upsert_plan: a plan, made or changed.
--
-- What is in it belongs to a version, and a version never changes: other terms are the next
-- one. Who bought an older one keeps it. A plan may include all of another; it goes with the
-- version of that one which is current now.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project, plan, feature, level or model), KCONF (its kind is
--           another), PNACT (it is archived), XINPT
-- replays   the same terms again change nothing
-- ends in   catalog.set_default_plan
create or replace function catalog.upsert_plan(
    p_project_id uuid,
    p_terms catalog.plan_terms,
    p_features catalog.plan_feature_terms[],
    p_levels catalog.plan_level_terms[],
    p_keep boolean default false,
    p_actor credits.actor default null
)
returns table (
    key text, kind text, name text, description text, rank int, version int, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_plan catalog.plans;
    v_includes int;
    v_version int;
    v_is_same boolean := false;
    v_before jsonb;
    v_replayed boolean;
begin
    perform catalog._check_plan(p_terms, p_features, p_levels);
    perform catalog._lock(p_project_id);
    perform catalog._check_plan_refers(p_project_id, p_features, p_levels);
    if p_terms.includes_plan_key is not null then
        v_includes := catalog._current_version(p_project_id, p_terms.includes_plan_key);
        if v_includes is null then
            perform core.refuse('NFOUN', jsonb_build_object(
                'kind', 'plan', 'id', p_terms.includes_plan_key));
        end if;
    end if;

    select p.* into v_plan
    from catalog.plans as p
    where p.project_id = p_project_id and p.key = p_terms.key;
    if found then
        v_version := catalog._current_version(p_project_id, p_terms.key);
        if p_keep then
            return query
                select v_plan.key, v_plan.kind, v_plan.name, v_plan.description, v_plan.rank,
                    v_version, true;
            return;
        end if;
        if v_plan.archived_at is not null then
            perform core.refuse('PNACT', jsonb_build_object('plan', p_terms.key));
        end if;
        v_before := catalog._plan_told(v_plan, v_version);
        if v_plan.kind <> p_terms.kind then
            perform core.refuse('KCONF', '{"field": "kind"}');
        end if;
        v_is_same := catalog._content(p_project_id, p_terms.key, v_version)
            = catalog._content_of(p_terms, v_includes, p_features, p_levels);
    end if;
    v_replayed := v_is_same
        and (v_plan.name, v_plan.description, v_plan.rank)
            is not distinct from (p_terms.name, p_terms.description, p_terms.rank);
    if v_plan.key is null then
        perform catalog._check_room('key', (
            select count(*) from catalog.plans as n where n.project_id = p_project_id
        ), 100);
    end if;
    if not v_replayed then
        insert into catalog.plans as p (
            project_id, key, kind, name, description, rank, created_at, updated_at
        ) values (
            p_project_id, p_terms.key, p_terms.kind, p_terms.name, p_terms.description,
            p_terms.rank, core.clock(), core.clock()
        )
        on conflict (project_id, key) do update
        set name = excluded.name, description = excluded.description, rank = excluded.rank,
            updated_at = excluded.updated_at
        returning p.* into v_plan;
        if not v_is_same then
            v_version := coalesce(v_version, 0) + 1;
            perform catalog._add_version(
                p_project_id, v_version, p_terms, v_includes, p_features, p_levels);
        end if;
        perform catalog._note_change(
            p_project_id, 'plan', p_terms.key, v_before,
            catalog._plan_told(v_plan, v_version), p_actor);
    end if;
    return query
        select v_plan.key, v_plan.kind, v_plan.name, v_plan.description, v_plan.rank,
            v_version, v_replayed;
end
$$;
grant execute on function catalog.upsert_plan to exchequer_app;

-- A version never changes: its number tells all that is in it.
create or replace function catalog._plan_told(p_plan catalog.plans, p_version int)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select catalog._told(to_jsonb(p_plan)) || jsonb_build_object('version', p_version)
$$;
