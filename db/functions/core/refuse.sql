-- core.refuse: raise a refusal of the catalogue, with its facts.
--
-- Nobody parses a message: the code is the SQLSTATE, the facts are JSON in DETAIL.
create or replace function core.refuse(p_sqlstate text, p_facts jsonb default '{}')
returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = p_sqlstate,
        message = 'refused: ' || p_sqlstate,
        detail = p_facts::text;
end
$$;
