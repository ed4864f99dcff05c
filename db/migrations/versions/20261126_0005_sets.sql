-- What settled calls used is kept for several accounts at once.

drop function if exists usage.record(uuid, usage.settled_call[]);

-- Most accounts have a few reservations, and a busy one has most of them. Where Postgres plans
-- by itself, as for the check of a foreign key, no account may look as if it had just one, and
-- no key as if many accounts used it: an index on the account alone would do.
alter table credits.reservations
    alter column account_id set (n_distinct = -0.05),
    alter column idempotency_key set (n_distinct = -1);
