"""Books with every wall taken down, to be tampered with as only a superuser could.

No trigger fires, no constraint is left: what the auditor then finds, it finds by itself.
Each tampering is rolled back.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg import Record

from app.core.database import Database, prepare_connection
from app.credits import Credits
from db.driver import Connection
from tests.conftest import Servers, cloned
from tests.support.accounts import Accounts
from tests.support.clock import Clock
from tests.support.history import History

ACCOUNTS = "credits.accounts"
GRANTS = "credits.grants"
RESERVATIONS = "credits.reservations"
EXTENSIONS = "credits.reservation_extensions"
TRANSACTIONS = "credits.transactions"
CHANGES = "credits.account_changes"
VOIDS = "credits.grant_voids"
RECORDS = "usage.records"

# Every invariant that the auditor's page promises.
PROMISED = frozenset(
    re.findall(
        r"\*\*(\w+)\*\*",
        (Path(__file__).parents[2] / "docs/auditor.md").read_text(encoding="utf-8"),
    )
)

# How the auditor names a row of each table, in SQL.
SUBJECTS = {
    ACCOUNTS: "'account'",
    GRANTS: "'grant ' || id",
    RESERVATIONS: "'reservation ' || id",
    EXTENSIONS: "'extension ' || version",
    TRANSACTIONS: "'transaction ' || version",
    CHANGES: "'change ' || version",
    VOIDS: "'void ' || idempotency_key",
    RECORDS: "'record ' || id",
}

_TAKE_DOWN = """
do $do$
declare
    v record;
begin
    for v in
        select c.conrelid::regclass as held, c.conname
        from pg_constraint as c
        where c.connamespace in ('credits'::regnamespace, 'usage'::regnamespace)
            and c.conrelid <> 0
            and c.contype in ('c', 'p', 'u', 'f')
            and c.conrelid <> 'credits.audit_marks'::regclass
        order by c.contype = 'f' desc
    loop
        execute format('alter table %s drop constraint %I', v.held, v.conname);
    end loop;
    for v in
        select i.indexrelid::regclass as name
        from pg_index as i
        join pg_class as c on c.oid = i.indrelid
        where i.indisunique
            and c.relnamespace in ('credits'::regnamespace, 'usage'::regnamespace)
            and i.indrelid <> 'credits.audit_marks'::regclass
    loop
        execute format('drop index %s', v.name);
    end loop;
end
$do$;
set session_replication_role = replica;
"""

AUDIT = """
select account_id, invariant, subject, expected, actual from credits.audit()
union all
select account_id, invariant, subject, expected, actual from usage.audit()
"""
AUDIT_SINCE = """
select account_id, invariant, subject, expected, actual
from credits.audit_and_mark(
    '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', true)
where invariant is not null
"""


@dataclass(frozen=True, order=True)
class Found:
    """What an auditor named: an invariant, and a row of an account."""

    account_id: UUID
    invariant: str
    subject: str


@dataclass(frozen=True)
class Tampering:
    """What the auditor says when something is done to rows of a table.

    `subject` is the row it names, in SQL: the row itself unless it says otherwise. `where`
    tells the rows for which this holds; `column` is what was changed, or what was done.
    """

    table: str
    column: str
    invariant: str
    subject: str = ""
    where: str = "true"

    def __str__(self) -> str:
        return f"{self.table}-{self.column}-{self.invariant}"


class Books:
    """A database whose books may be broken, one break at a time, and how they are audited."""

    def __init__(self, admin: Connection, audit: str = AUDIT) -> None:
        self._admin = admin
        self._audit = audit

    async def take_down_walls(self) -> None:
        """Drop every constraint and unique index, and silence every trigger."""
        await self._admin.execute(_TAKE_DOWN)

    async def rows(self, tampering: Tampering, *, filled: bool = False) -> list[Record]:
        """Return `place`, `account_id` and what should be `named` of the rows meant.

        There must be some: a table of tamperings that meet no row proves nothing. `filled`
        leaves out those where the column is null.
        """
        named = tampering.subject or SUBJECTS[tampering.table]
        where = f"({tampering.where})" + filled * f" and {tampering.column} is not null"
        rows = await self._admin.fetch(
            f"select ctid as place, account_id, {named} as named"  # noqa: S608
            f" from {tampering.table} as t where {where} order by account_id, named"
        )
        assert rows, tampering
        return rows

    async def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns, in order."""
        rows = await self._admin.fetch(
            "select attname from pg_attribute where attrelid = $1::text::regclass"
            " and attnum > 0 and not attisdropped order by attnum",
            table,
        )
        return [row["attname"] for row in rows]

    async def figures(self) -> set[tuple[str, str]]:
        """Return every column of micro-credits in the tables that are audited."""
        rows = await self._admin.fetch(
            "select a.attrelid::regclass::text as held, a.attname from pg_attribute as a"
            " where a.atttypid = 'credits.microcredits'::regtype"
            " and a.attrelid = any($1::text[]::regclass[])",
            list(SUBJECTS),
        )
        return {(row["held"], row["attname"]) for row in rows}

    @asynccontextmanager
    async def tampered(self, statement: str, *arguments: Any) -> AsyncIterator[set[Found]]:
        """Run a statement that changes one row, audit, give what was found, and undo it."""
        transaction = self._admin.transaction()
        await transaction.start()
        try:
            done = await self._admin.execute(statement, *arguments)
            assert done.split()[-1] == "1", f"{statement}: {done}"
            rows = await self._admin.fetch(self._audit)
            assert not [row for row in rows if None in row.values()]
            found = {Found(*list(row)[:3]) for row in rows}
            assert {each.invariant for each in found} <= PROMISED
            yield found
        finally:
            await transaction.rollback()

    async def expect(self, tampering: Tampering, row: Record, statement: str) -> None:
        """Run a statement on a row, `$1` its place, and see the auditor name what it should."""
        async with self.tampered(statement, row["place"]) as found:
            told = Found(row["account_id"], tampering.invariant, row["named"])
            assert told in found, sorted(found)


@asynccontextmanager
async def open_books(servers: Servers, template: str) -> AsyncIterator[Books]:
    """Write the history into a database of its own, see it clean, and take down its walls."""
    async with cloned(servers, template) as name:
        admin = await asyncpg.connect(servers.admin_url(name))
        await prepare_connection(admin)
        database = await Database.connect(servers.app_url(name))
        credits = Credits(database)
        await History(credits, Accounts(database, admin), Clock(admin)).write()
        await database.close()
        books = Books(admin)
        await books.take_down_walls()
        found = await admin.fetch(AUDIT)
        assert found == [], found
        try:
            yield books
        finally:
            await admin.close()
