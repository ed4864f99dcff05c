-- core.uuidv7: a time-ordered id.
--
-- Built in from Postgres 18 on; below it, 48 bits of milliseconds over the random
-- bits of a version 4 id.
do $do$
begin
    if current_setting('server_version_num')::int >= 180000 then
        execute $fn$
            create or replace function core.uuidv7()
            returns uuid
            language sql volatile parallel safe
            as $$ select pg_catalog.uuidv7() $$
        $fn$;
    else
        execute $fn$
            create or replace function core.uuidv7()
            returns uuid
            language sql volatile parallel safe
            as $$
                select pg_catalog.encode(
                    pg_catalog.set_bit(
                        pg_catalog.set_bit(
                            pg_catalog.overlay(
                                pg_catalog.uuid_send(pg_catalog.gen_random_uuid()),
                                pg_catalog.substring(
                                    pg_catalog.int8send((extract(
                                        epoch from pg_catalog.clock_timestamp()) * 1000)::bigint),
                                    3),
                                1, 6),
                            52, 1),
                        53, 1),
                    'hex')::uuid
            $$
        $fn$;
    end if;
end
$do$;
grant execute on function core.uuidv7 to exchequer_app;
