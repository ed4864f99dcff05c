-- credits._lifetime_limit: what an account may be granted in all its life: 9 * 10^12 credits.
create or replace function credits._lifetime_limit()
returns bigint
language sql immutable parallel safe
as $$ select 9000000000000000000::bigint $$;

-- What it may have been granted and owe together: sums stay clear of 2^63.
create or replace function credits._books_limit()
returns bigint
language sql immutable parallel safe
as $$ select 9200000000000000000::bigint $$;
