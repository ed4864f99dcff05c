-- Which pages may use the keys of a project: none but those of the setting, until it is told.
-- The constant default rewrites no row; the check is met by every row that has it.

alter table identity.projects
    add column allowed_origins text[] default '{}' not null,
    add constraint projects_allowed_origins_check check (
        cardinality(allowed_origins) <= 50
        and array_to_string(array_append(allowed_origins, ''), ' ', '*')
            ~ '^(https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})? )*$'
    );
