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
create or replace function catalog._note_change(p_project_id uuid)
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    update catalog.settings as s
    set catalog_version = s.catalog_version + 1, changed_at = core.clock()
    where s.project_id = p_project_id;
end
$$;
