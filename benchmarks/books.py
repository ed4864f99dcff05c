"""A durable Postgres with nothing but our schema in it, and accounts made by the thousand."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from app.core.database import Database, PoolLimits, prepare_connection, server_settings
from app.core.servers import PostgresServer
from app.credits import Credits, ReserveRequest, SettleRequest
from app.identity import Identity
from app.seed import seed
from benchmarks.harness import family_seconds
from db.driver import Connection
from db.migrate import migrate

CREDIT = 1_000_000
# What no run can spend.
ENOUGH = 1_000_000 * CREDIT
COMMAND_SECONDS = 60.0
# An account with ten million rows is one statement.
AUDIT_SECONDS = 1_200.0
# Durable as ever. Checkpoints come by the clock and not by what one wrote, so that they do not
# fall into one run of a round more than into another.
_SETTINGS = {"max_wal_size": "16GB", "shared_buffers": "2GB"}
# What an account consists of; the order is that of their references.
_PARTS = (
    "identity.organizations",
    "credits.accounts",
    "credits.account_changes",
    "credits.grants",
    "credits.grant_voids",
    "credits.reservations",
    "credits.reservation_extensions",
    "credits.transactions",
    "credits.findings",
    "usage.records",
    "events.outbox",
)


@dataclass(frozen=True)
class Books:
    """The server, the superuser's connection to look with, and the application's pool."""

    server: PostgresServer
    name: str
    app_url: str
    admin: Connection
    database: Database
    project: UUID

    @property
    def admin_url(self) -> str:
        """Where the superuser connects."""
        return self.server.url(self.name)

    def cpu_seconds(self) -> float:
        """Return what Postgres has used so far, all its processes together."""
        return family_seconds(self.server.pid)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a bare connection with the application's rights and settings, and no pool."""
        made = await asyncpg.connect(self.app_url, server_settings=server_settings(COMMAND_SECONDS))
        try:
            await prepare_connection(made)
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def serving(settings: dict[str, str] | None = None) -> AsyncIterator[PostgresServer]:
    """Start Postgres, durable; stop it afterwards."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(
            Path(folder) / "postgres", settings={**_SETTINGS, **(settings or {})}
        ) as server,
    ):
        yield server


@asynccontextmanager
async def kept_in(server: PostgresServer, name: str) -> AsyncIterator[Books]:
    """Make a database of this release and connect to it."""
    app_url = server.url(name, f"{name}_login", secrets.token_urlsafe(16))
    first = await asyncpg.connect(server.url("postgres"))
    await first.execute(f'create database "{name}"')
    await first.close()
    await migrate(server.url(name), app_url=app_url)
    admin = await asyncpg.connect(server.url(name))
    limits = PoolLimits(command_seconds=COMMAND_SECONDS, acquire_seconds=COMMAND_SECONDS)
    database = await Database.connect(app_url, limits)
    try:
        yield Books(server, name, app_url, admin, database, await seed(database))
    finally:
        await database.close()
        await admin.close()


@asynccontextmanager
async def opened(settings: dict[str, str] | None = None) -> AsyncIterator[Books]:
    """Start Postgres with one database; stop it afterwards."""
    async with serving(settings) as server, kept_in(server, "exchequer") as books:
        yield books


async def account(books: Books, name: str, *, settles: int = 0, amount: int = ENOUGH) -> UUID:
    """Make one account with a grant, and with so many reservations that were settled."""
    identity, credits = Identity(books.database), Credits(books.database)
    made = await identity.create_organization(books.project, name)
    if amount:
        await credits.issue_grant(made.id, amount, "top_up", "first", reason="enough")
    for number in range(settles):
        reserved = await credits.reserve(
            made.id, ReserveRequest(f"{name}-{number}", CREDIT, feature="assistant")
        )
        await credits.settle(
            made.id,
            SettleRequest(
                reserved.reservation_id,
                CREDIT // 2 + number,
                operation="chat",
                model="small-2026",
                input_tokens=1_000,
                output_tokens=100,
            ),
        )
    return made.id


async def copies(books: Books, template: UUID, count: int, batch: int = 20_000) -> list[UUID]:
    """Make accounts whose books are those of the template: true ones, by the million.

    Every row is one that the functions wrote, but for whose it is. So references and durability
    need no check while they are loaded; a checkpoint follows.
    """
    made: list[UUID] = []
    while len(made) < count:
        size = min(batch, count - len(made))
        async with books.admin.transaction():
            await books.admin.execute(
                "set local session_replication_role = replica; set local synchronous_commit = off"
            )
            rows = await books.admin.fetch(
                "select core.uuidv7() as id from generate_series(1, $1::int)", size
            )
            ids = [UUID(bytes=row["id"].bytes) for row in rows]
            await copy_account(books.admin, template, ids)
        made += ids
    await books.admin.execute("vacuum (analyze, freeze)")
    await books.admin.execute("checkpoint")
    return made


async def copy_account(admin: Connection, template: UUID, ids: Sequence[UUID]) -> None:
    """Give each id the books of the template, its organization first.

    What is unique is unique within an account, so a copy keeps all ids but the account's own.
    """
    for part in _PARTS:
        await _copy(admin, part, template, ids)


async def _copy(admin: Connection, part: str, template: UUID, ids: Sequence[UUID]) -> None:
    owner = "id" if part == "identity.organizations" else "account_id"
    columns = await admin.fetchval(
        "select string_agg(format('p.%I', a.attname), ', ' order by a.attnum)"
        " from pg_catalog.pg_attribute as a"
        " where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped"
        " and a.attname <> $2",
        part,
        owner,
    )
    names = columns.replace("p.", "")
    # Names of our own schema.
    await admin.execute(
        f"insert into {part} ({owner}, {names}) select n.id, {columns}"  # noqa: S608
        f" from unnest($1::uuid[]) with ordinality as n (id, place)"
        f" cross join {part} as p where p.{owner} = $2 order by n.place",
        ids,
        template,
    )


async def operations_of(books: Books, accounts: Sequence[UUID]) -> int:
    """Count the reserves and settles that stand in the books of accounts."""
    count: int = await books.admin.fetchval(
        "select count(*) + count(*) filter (where r.status = 'settled')"
        " from credits.reservations as r where r.account_id = any($1)",
        accounts,
    )
    ledger: int = await books.admin.fetchval(
        "select count(*) from credits.reservations as r"
        " where r.account_id = any($1) and r.status = 'settled' and not exists (select"
        " from credits.transactions as t where t.account_id = r.account_id"
        " and t.version = r.settled_version and t.amount = -r.settled_amount)",
        accounts,
    )
    if ledger:
        raise RuntimeError(f"{ledger} settles have no row in the ledger")
    return count


@asynccontextmanager
async def patient(books: Books) -> AsyncIterator[Credits]:
    """Lend what waits for a statement as long as an audit may take, on a connection of its own."""
    limits = PoolLimits(min_size=1, max_size=1, command_seconds=AUDIT_SECONDS)
    database = await Database.connect(books.app_url, limits)
    try:
        yield Credits(database)
    finally:
        await database.close()


async def prove(books: Books, accounts: Sequence[UUID]) -> None:
    """Audit accounts; raise what is found."""
    async with patient(books) as credits:
        for each in accounts:
            if findings := await credits.audit(each):
                raise RuntimeError(f"the books of {each} are wrong: {findings[:5]}")


async def sizes(books: Books) -> dict[str, int]:
    """Count what there is."""
    rows = await books.admin.fetchrow(
        "select (select count(*) from credits.transactions) as ledger_rows,"
        " (select count(*) from credits.accounts) as accounts,"
        " pg_database_size(current_database()) as bytes"
    )
    return dict(rows or {})
