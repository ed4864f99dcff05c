"""A client that leaves in the middle of making, or of using, a connection to Postgres."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app.core.database import Database, PoolLimits
from db.driver import Connection
from tests.conftest import Servers

POOL = 12


@asynccontextmanager
async def _empty(servers: Servers, name: str) -> AsyncIterator[Database]:
    """Yield a pool without a connection; nothing that fails may be left unread behind it."""
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    database = await Database.connect(servers.app_url(name), PoolLimits(POOL, min_size=0))
    try:
        yield database
        assert await database.value("select 1") == 1
        await database.close()
        while others := await _being_made():
            await asyncio.wait(others)
        gc.collect()
        await asyncio.sleep(0)
        assert told == []
    finally:
        loop.set_exception_handler(before)


async def _being_made() -> list[asyncio.Task[Any]]:
    # A turn for what was started just now.
    await asyncio.sleep(0)
    return [each for each in asyncio.all_tasks() if "connect()" in repr(each)]


async def _left(asking: list[asyncio.Task[Any]], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_who_leaves_while_the_pool_grows_leaves_no_error_behind(
    servers: Servers, database_name: str
) -> None:
    async with _empty(servers, database_name) as database:
        for turns in range(40):
            await _left([asyncio.create_task(database.value("select 1"))], turns)
            # So that the next one needs a connection of its own as well.
            await database._pool.expire_connections()


async def test_however_many_leave_no_more_is_made_than_the_pool_has(
    servers: Servers, database_name: str
) -> None:
    async with _empty(servers, database_name) as database:
        most = 0
        for turns in range(2, 12):
            crowd = [asyncio.create_task(database.value("select 1")) for _ in range(POOL)]
            await _left(crowd, turns)
            most = max(most, len(await _being_made()))
        assert 0 < most <= POOL


async def _is_at_rest(admin: Connection) -> bool:
    """Say whether no connection of the pool is in a transaction, or has a statement begun."""
    [unrest] = await admin.fetchrow(
        "select count(*) from pg_stat_activity where application_name = 'exchequer'"
        " and datname = current_database() and (state <> 'idle' or xact_start is not null)"
    ) or [None]
    return unrest == 0


async def test_who_leaves_before_a_statement_runs_leaves_none_begun(
    database: Database, admin: Connection
) -> None:
    prepared = asyncio.Event()

    async def ask() -> None:
        async with database.connection() as connection:
            await connection.prepare("select 1")
            prepared.set()
            await asyncio.Event().wait()

    asking = asyncio.create_task(ask())
    await prepared.wait()
    assert not await _is_at_rest(admin)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await _is_at_rest(admin)


async def test_a_statement_whose_arguments_do_not_fit_is_not_left_begun(
    database: Database, admin: Connection
) -> None:
    with pytest.raises(asyncpg.DataError):
        await database.value("select $1::bigint", 2**70)
    assert await _is_at_rest(admin)
