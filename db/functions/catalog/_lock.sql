-- catalog._lock: begin to edit a project's catalog.
--
-- One editor at a time: what depends on other rows of the catalog is read after this.
create or replace function catalog._lock(p_project_id uuid)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    perform from catalog.settings as s where s.project_id = p_project_id for no key update;
    if not found then
        perform core.refuse('NFOUN', jsonb_build_object('kind', 'project', 'id', p_project_id));
    end if;
end
$$;

-- What was edited is another version of the whole catalog: processes keep it under that number.
-- Who edited what stands under it too; a subject that was not there before has no before.
create or replace function catalog._note_change(
    p_project_id uuid, p_subject text, p_key text, p_before jsonb, p_after jsonb,
    p_actor credits.actor
)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
declare
    v_version bigint;
begin
    update catalog.settings as s
    set catalog_version = s.catalog_version + 1, changed_at = core.clock()
    where s.project_id = p_project_id
    returning s.catalog_version into v_version;
    insert into catalog.changes (
        project_id, catalog_version, changed_at, subject, key,
        actor_kind, actor_id, actor_label, before, after
    ) values (
        p_project_id, v_version, core.clock(), p_subject, p_key,
        p_actor.kind, p_actor.id, p_actor.label, p_before, p_after
    );
end
$$;

-- A row as notes of edits tell it: what the key and the note say already is left out.
create or replace function catalog._told(p_row jsonb)
returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
    select p_row - array['project_id', 'key', 'created_at', 'updated_at']
$$;
