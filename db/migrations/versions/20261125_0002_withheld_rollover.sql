-- What rolls over into a month that is paid for late.

alter table credits.accounts
    add column rollover_withheld credits.microcredits default '0' not null,
    add constraint accounts_rollover_check check (rollover_withheld >= 0);

-- Replaced under its own name: no release has called it with these arguments.
drop function if exists credits.set_policy(
    uuid, bigint, bigint, bigint, bigint, bigint, bigint, bigint, int, boolean
);

drop function if exists credits._assert_current(credits.accounts);
drop function if exists identity.revoke_api_key(uuid, uuid);
