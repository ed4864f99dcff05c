-- catalog.upsert_feature: a feature that plans can open, made or changed.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project), KCONF (its kind is another), XINPT
-- replays   the same terms again change nothing
-- ends in   catalog.upsert_plan
create or replace function catalog.upsert_feature(
    p_project_id uuid,
    p_terms catalog.feature_terms,
    p_keep boolean default false,
    p_actor credits.actor default null
)
returns table (
    key text, kind text, name text, description text, category text, icon text,
    is_active boolean, base_estimate bigint, replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_feature catalog.features;
    v_before jsonb;
    v_replayed boolean;
begin
    perform catalog._check_key(p_terms.key);
    if p_terms.kind is null or p_terms.kind not in ('ai', 'boolean', 'limit', 'metered') then
        perform catalog._invalid('kind', 'must be ai, boolean, limit or metered');
    end if;
    perform catalog._check_text('name', coalesce(p_terms.name, ''), 200);
    perform catalog._check_text('description', p_terms.description, 2000);
    perform catalog._check_text('category', p_terms.category, 63);
    perform catalog._check_text('icon', p_terms.icon, 200);
    perform catalog._check_credits('baseEstimate', p_terms.base_estimate, 0);

    perform catalog._lock(p_project_id);
    select f.* into v_feature
    from catalog.features as f
    where f.project_id = p_project_id and f.key = p_terms.key;
    v_before := case when found then catalog._told(to_jsonb(v_feature)) end;
    v_replayed := found and (
        p_keep
        or (v_feature.kind, v_feature.name, v_feature.description, v_feature.category,
            v_feature.icon, v_feature.is_active, v_feature.base_estimate::bigint)
        is not distinct from (p_terms.kind, p_terms.name, p_terms.description,
            p_terms.category, p_terms.icon, coalesce(p_terms.is_active, true),
            p_terms.base_estimate)
    );
    if v_feature.kind <> p_terms.kind and not v_replayed then
        -- What plans say of it would mean something else.
        perform core.refuse('KCONF', '{"field": "kind"}');
    end if;
    if v_feature.key is null then
        perform catalog._check_room('key', (
            select count(*) from catalog.features as n where n.project_id = p_project_id
        ), 200);
    end if;
    if not v_replayed then
        insert into catalog.features as f (
            project_id, key, kind, name, description, category, icon, is_active,
            base_estimate, created_at, updated_at
        ) values (
            p_project_id, p_terms.key, p_terms.kind, p_terms.name, p_terms.description,
            p_terms.category, p_terms.icon, coalesce(p_terms.is_active, true),
            p_terms.base_estimate, core.clock(), core.clock()
        )
        on conflict (project_id, key) do update
        set name = excluded.name, description = excluded.description,
            category = excluded.category, icon = excluded.icon,
            is_active = excluded.is_active, base_estimate = excluded.base_estimate,
            updated_at = excluded.updated_at
        returning f.* into v_feature;
        perform catalog._note_change(
            p_project_id, 'feature', p_terms.key, v_before,
            catalog._told(to_jsonb(v_feature)), p_actor);
    end if;
    return query
        select v_feature.key, v_feature.kind, v_feature.name, v_feature.description,
            v_feature.category, v_feature.icon, v_feature.is_active,
            v_feature.base_estimate::bigint, v_replayed;
end
$$;
grant execute on function catalog.upsert_feature to exchequer_app;
