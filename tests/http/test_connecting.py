"""A client that leaves while a connection to Postgres is being made for it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.core.database import Database, PoolLimits
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
