-- catalog.upsert_quality_level: a quality level, made or changed.
--
-- locks     the catalog's settings
-- refuses   NFOUN (no such project), XINPT
-- replays   the same terms again change nothing
-- ends in   catalog.upsert_plan
create or replace function catalog.upsert_quality_level(
    p_project_id uuid,
    p_terms catalog.quality_terms,
    p_keep boolean default false,
    p_actor credits.actor default null
)
returns table (
    key text, name text, rank int, multiplier_basis_points int, is_active boolean,
    replayed boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
    v_level catalog.quality_levels;
    v_before jsonb;
    v_replayed boolean;
begin
    perform catalog._check_key(p_terms.key);
    perform catalog._check_text('name', coalesce(p_terms.name, ''), 200);
    if p_terms.rank is null then
        perform catalog._invalid('rank', 'must be given');
    end if;
    if p_terms.multiplier_basis_points is null
        or p_terms.multiplier_basis_points not between 1 and 10000000
    then
        perform catalog._invalid('multiplier', 'must be above 0 and at most 1,000');
    end if;

    perform catalog._lock(p_project_id);
    select q.* into v_level
    from catalog.quality_levels as q
    where q.project_id = p_project_id and q.key = p_terms.key;
    v_before := case when found then catalog._told(to_jsonb(v_level)) end;
    v_replayed := found and (
        p_keep
        or (v_level.name, v_level.rank, v_level.multiplier_basis_points, v_level.is_active)
        is not distinct from (p_terms.name, p_terms.rank, p_terms.multiplier_basis_points,
            coalesce(p_terms.is_active, true))
    );
    if v_level.key is null then
        perform catalog._check_room('key', (
            select count(*) from catalog.quality_levels as n where n.project_id = p_project_id
        ), 20);
    end if;
    if not v_replayed then
        insert into catalog.quality_levels as q (
            project_id, key, name, rank, multiplier_basis_points, is_active,
            created_at, updated_at
        ) values (
            p_project_id, p_terms.key, p_terms.name, p_terms.rank,
            p_terms.multiplier_basis_points, coalesce(p_terms.is_active, true),
            core.clock(), core.clock()
        )
        on conflict (project_id, key) do update
        set name = excluded.name, rank = excluded.rank,
            multiplier_basis_points = excluded.multiplier_basis_points,
            is_active = excluded.is_active, updated_at = excluded.updated_at
        returning q.* into v_level;
        perform catalog._note_change(
            p_project_id, 'quality_level', p_terms.key, v_before,
            catalog._told(to_jsonb(v_level)), p_actor);
    end if;
    return query
        select v_level.key, v_level.name, v_level.rank, v_level.multiplier_basis_points,
            v_level.is_active, v_replayed;
end
$$;
grant execute on function catalog.upsert_quality_level to exchequer_app;
