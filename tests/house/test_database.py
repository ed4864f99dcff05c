"""Rules of the tables."""

import pytest

from db.driver import Connection

SCHEMAS = ["core", "identity", "catalog", "credits", "usage", "events", "inference"]


async def test_every_foreign_key_has_an_index(admin: Connection) -> None:
    missing = await admin.fetch(
        """
        select c.conrelid::regclass::text as table, c.conname
        from pg_constraint as c
        where c.contype = 'f'
            and c.connamespace = any($1::text[]::regnamespace[])
            and not exists (
                select from pg_index as i
                where i.indrelid = c.conrelid
                    and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
            )
        """,
        SCHEMAS,
    )
    assert [tuple(row) for row in missing] == []


@pytest.mark.parametrize(
    ("table", "leading"),
    [
        ("credits.accounts", ["account_id"]),
        ("credits.accounts", ["next_due_at"]),
        ("credits.grants", ["account_id", "operation", "idempotency_key"]),
        ("credits.grants", ["account_id", "refund_of"]),
        ("credits.reservations", ["account_id", "id"]),
        ("credits.reservations", ["account_id", "idempotency_key"]),
        ("credits.reservations", ["account_id", "expires_at"]),
        ("credits.transactions", ["account_id", "version"]),
        ("credits.transactions", ["account_id", "operation", "idempotency_key"]),
        ("usage.records", ["account_id", "id"]),
        ("events.outbox", ["account_id", "version"]),
        ("identity.api_keys", ["secret_hash"]),
        ("identity.organizations", ["project_id", "id"]),
        ("core.idempotency_keys", ["scope", "key"]),
        ("core.idempotency_keys", ["created_at"]),
    ],
)
async def test_hot_filters_have_an_index(admin: Connection, table: str, leading: list[str]) -> None:
    indexes = await admin.fetch(
        """
        select array_agg(a.attname::text order by k.place) as columns
        from pg_index as i
        cross join unnest(i.indkey::int2[]) with ordinality as k (number, place)
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
        where i.indrelid = $1::text::regclass
        group by i.indexrelid
        """,
        table,
    )
    assert any(row["columns"][: len(leading)] == leading for row in indexes)


async def test_references_to_the_ledgers_accounts_restrict_deletes(admin: Connection) -> None:
    rules = await admin.fetch(
        "select conname, confdeltype::text from pg_constraint"
        " where contype = 'f' and connamespace = any($1::text[]::regnamespace[])"
        " and confdeltype <> 'r'",
        SCHEMAS,
    )
    assert [row["conname"] for row in rules] == []


async def test_no_column_is_a_float_or_numeric(admin: Connection) -> None:
    found = await admin.fetch(
        "select table_schema || '.' || table_name || '.' || column_name as name"
        " from information_schema.columns"
        " where table_schema = any($1) and data_type in ('numeric', 'real', 'double precision')",
        SCHEMAS,
    )
    assert [row["name"] for row in found] == []


async def test_no_column_holds_a_time_without_its_zone(admin: Connection) -> None:
    found = await admin.fetch(
        "select table_schema || '.' || table_name || '.' || column_name as name"
        " from information_schema.columns"
        " where table_schema = any($1)"
        " and data_type in ('timestamp without time zone', 'date', 'time without time zone')",
        SCHEMAS,
    )
    assert [row["name"] for row in found] == []


async def test_the_account_comes_first_in_every_key_of_credits(admin: Connection) -> None:
    found = await admin.fetch(
        """
        select i.indexrelid::regclass::text as name, a.attname
        from pg_index as i
        join pg_class as c on c.oid = i.indrelid
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
        where c.relnamespace in ('credits'::regnamespace, 'usage'::regnamespace)
            and a.attname <> 'account_id'
        """
    )
    # A project's rules; and how the sweep and a project find accounts.
    assert {row["name"] for row in found} == {
        "credits.policies_pkey",
        "credits.accounts_next_due_at_idx",
        "credits.accounts_project_id_idx",
    }


async def test_the_application_can_write_no_table(admin: Connection) -> None:
    writable = await admin.fetch(
        """
        select c.oid::regclass::text as name
        from pg_class as c
        where c.relkind in ('r', 'p')
            and c.relnamespace = any($1::text[]::regnamespace[])
            and has_table_privilege(
                'exchequer_app', c.oid, 'insert, update, delete, truncate, references, trigger')
        """,
        SCHEMAS,
    )
    assert [row["name"] for row in writable] == []


async def test_every_table_says_what_it_is(admin: Connection) -> None:
    silent = await admin.fetch(
        "select c.oid::regclass::text as name from pg_class as c"
        " where c.relkind = 'r' and c.relnamespace = any($1::text[]::regnamespace[])"
        " and obj_description(c.oid) is null and c.relname not in ('schema_version', 'test_clock')",
        SCHEMAS,
    )
    assert [row["name"] for row in silent] == []
