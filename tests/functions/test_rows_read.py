"""A set reads the rows it needs, whatever the planner believed when it made the plan.

A plan is made once for a connection, perhaps while the tables are empty: it must find rows by
their keys and not look through tables that were small. Counted in rows, not in time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from app.core.database import prepare_connection
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import Session

SET = 8
FILLED = 12
# Once for each request and once for its foreign key; the lock and the end look some times more.
ACCOUNT_ROWS = 2 * SET + 4
_READ = """
select s.relname, s.seq_tup_read + s.idx_tup_fetch as rows
from pg_stat_xact_user_tables as s
where s.schemaname = 'credits' and s.relname in ('reservations', 'transactions', 'accounts')
"""

Call = Callable[[Credits, UUID, list[UUID]], Awaitable[object]]


def _keys(name: str) -> list[ReserveRequest]:
    return [ReserveRequest(f"{name} {number}", 2) for number in range(SET)]


# Each with what it may read of reservations: its own rows, once to decide and, where it does
# not know the place any more, once to write.
CALLS: dict[str, tuple[Call, int]] = {
    "reserve": (lambda credits, account, ids: credits.reserve_set(account, _keys(str(ids[0]))), 0),
    "reserve_many": (
        lambda credits, account, ids: credits.reserve_many(SET * [account], _keys(str(ids[0]))),
        0,
    ),
    "extend": (
        lambda credits, account, ids: credits.extend_set(
            account, [ExtendRequest(each, 3) for each in ids]
        ),
        2 * SET,
    ),
    "settle": (
        lambda credits, account, ids: credits.settle_set(
            account, [SettleRequest(each, 1) for each in ids]
        ),
        2 * SET,
    ),
    "settle_many": (
        lambda credits, account, ids: credits.settle_many(
            SET * [account], [SettleRequest(each, 1) for each in ids]
        ),
        SET,
    ),
    "release": (
        lambda credits, account, ids: credits.release_set(
            account, [ReleaseRequest(each) for each in ids]
        ),
        2 * SET,
    ),
    "release_many": (
        lambda credits, account, ids: credits.release_many(
            SET * [account], [ReleaseRequest(each) for each in ids]
        ),
        SET,
    ),
    "deduct": (lambda credits, account, ids: credits.deduct(account, 1, str(ids[0])), 0),
}


async def _hold(credits: Credits, account: UUID, name: str, count: int = SET) -> list[UUID]:
    rows = await credits.reserve_set(
        account, [ReserveRequest(f"{name} {number}", 2) for number in range(count)]
    )
    return [row.reservation_id for row in rows]


async def _read(session: Session) -> dict[str, int]:
    return {row["relname"]: row["rows"] for row in await session.fetch(_READ)}


@asynccontextmanager
async def _planned(servers: Servers, name: str) -> AsyncIterator[Session]:
    """Open a connection, which keeps the plans it makes."""
    connection = await asyncpg.connect(servers.app_url(name))
    await prepare_connection(connection)
    session = Session(connection)
    try:
        yield session
    finally:
        await session.close()


async def _fill(credits: Credits, account: UUID) -> None:
    for turn in range(FILLED):
        await _hold(credits, account, f"fill {turn}", 256)
        held = await _hold(credits, account, f"settled {turn}")
        await credits.settle_set(account, [SettleRequest(each, 1) for each in held])


async def _measured(session: Session, call: Call, account: UUID, ids: list[UUID]) -> dict[str, int]:
    async with session.begin():
        before = await _read(session)
        await call(session.credits, account, ids)
        after = await _read(session)
    return {table: rows - before.get(table, 0) for table, rows in after.items()}


@pytest.mark.parametrize("name", CALLS)
async def test_a_plan_made_while_tables_were_empty_reads_no_more_than_the_set(
    name: str,
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    servers: Servers,
    database_name: str,
) -> None:
    call, needed = CALLS[name]
    # Its check is planned by Postgres alone, and right once the table has been analyzed.
    await admin.execute(
        "alter table credits.reservation_extensions"
        " drop constraint reservation_extensions_account_id_reservation_id_fkey"
    )
    account = await accounts.open(10)
    await admin.execute("analyze")
    async with _planned(servers, database_name) as session:
        await call(session.credits, account, await _hold(credits, account, "plan"))
        await _fill(credits, account)
        read = await _measured(session, call, account, await _hold(credits, account, "measured"))
    assert read["reservations"] <= needed, read
    assert read["transactions"] == 0, read
    assert read["accounts"] <= ACCOUNT_ROWS, read


async def test_a_plan_made_while_each_account_had_one_reservation_reads_no_more_than_the_set(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    servers: Servers,
    database_name: str,
    subtests: pytest.Subtests,
) -> None:
    project = await accounts.project(welcome_grant=10 * CREDIT)
    busy, *others = [await accounts.open(project_id=project) for _ in range(256)]
    for first in range(0, len(others), 64):
        some = others[first : first + 64]
        await credits.reserve_many(some, len(some) * _keys("only")[:1])
    await admin.execute("analyze")
    async with _planned(servers, database_name) as session:
        for name, (call, _) in CALLS.items():
            await call(session.credits, busy, await _hold(credits, busy, f"plan {name}"))
        await _fill(credits, busy)
        for name, (call, needed) in CALLS.items():
            held = await _hold(credits, busy, f"measured {name}")
            read = await _measured(session, call, busy, held)
            with subtests.test(name):
                checked = SET if name == "extend" else 0
                assert read["reservations"] <= needed + checked, read
                assert read["transactions"] == 0, read
                assert read["accounts"] <= ACCOUNT_ROWS, read
