"""Forced races: real connections, real commits, and an order that is decided here.

A works in a transaction that stays open and so keeps its locks. B starts, and is known
to wait for A because Postgres itself says so. Then A commits or rolls back, and B goes
on. Nothing hangs on luck: without that word from Postgres the test fails.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import asyncpg
from asyncpg.transaction import Transaction

from app.core.database import (
    Database,
    PoolLimits,
    _recognised,
    prepare_connection,
    server_settings,
)
from app.credits import Credits
from app.credits.rows import Balance
from db.driver import Connection

T = TypeVar("T")

POLL_SECONDS = 0.001
# Shorter than the two seconds after which the functions stop waiting for a lock.
SEEN_WAITING_SECONDS = 1.5

_BLOCKERS = "select pg_blocking_pids($1)"
_WAITERS = "select a.pid from pg_stat_activity as a where $1 = any(pg_blocking_pids(a.pid))"


class Session(Database):
    """One connection, used as the application uses its pool."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._limits = PoolLimits(max_size=1)
        self.pid = connection.get_server_pid()
        self.credits = Credits(self)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        with _recognised():
            yield self._connection

    def begin(self) -> Transaction:
        return self._connection.transaction()

    async def close(self) -> None:
        await self._connection.close()


Call = Callable[[Session], Awaitable[T]]


class Race:
    """A and those who wait for it.

    `hold` lets A act and keep its locks, `queue` starts one that must wait for them,
    `commit` or `rollback` ends A. What `queue` returned is then awaited for B's answer,
    or B's refusal. Ended, a race may be run again on the same connections.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: list[Session] = []
        self._queued: list[tuple[Session, asyncio.Task[object]]] = []
        self._transaction: Transaction | None = None

    async def __aenter__(self) -> Self:
        self._holder = await self._open()
        self._observer = await self._open()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._transaction is not None:
            await self.rollback()
        await asyncio.gather(*(task for _, task in self._queued), return_exceptions=True)
        for session in self._opened:
            await session.close()

    async def hold(self, call: Call[T]) -> T:
        """Let A act in a transaction that stays open, and return A's answer."""
        assert self._transaction is None, "A holds its locks already"
        self._transaction = self._holder.begin()
        await self._transaction.start()
        return await call(self._holder)

    async def queue(self, call: Call[T], *, behind: int | None = None) -> "asyncio.Task[T]":
        """Start B on a connection of its own; return once Postgres says that it waits.

        It waits for A or for one before it in the queue; or for `behind`, the process of
        a connection that is not of this race.
        """
        session = await self._idle()
        ahead = {behind or self._holder.pid, *(ahead.pid for ahead, _ in self._queued)}
        task = asyncio.ensure_future(_run(call, session))
        self._queued.append((session, task))
        async with asyncio.timeout(SEEN_WAITING_SECONDS):
            while ahead.isdisjoint(await self._observer.value(_BLOCKERS, session.pid)):
                assert not task.done(), f"did not wait: {task.exception() or task.result()}"
                await asyncio.sleep(POLL_SECONDS)
        return task

    async def someone_waits(self) -> int:
        """Return the process of the one that waits for A on a connection that is not of this race.

        It returns once Postgres says so.
        """
        async with asyncio.timeout(SEEN_WAITING_SECONDS):
            while not (pids := await self._observer.fetch(_WAITERS, self._holder.pid)):
                await asyncio.sleep(POLL_SECONDS)
        [waiter] = pids
        return int(waiter["pid"])

    async def commit(self) -> None:
        """A commits; who waited for it goes on."""
        assert self._transaction is not None
        ended, self._transaction = self._transaction, None
        await ended.commit()

    async def rollback(self) -> None:
        """A takes everything back; who waited for it goes on."""
        assert self._transaction is not None
        ended, self._transaction = self._transaction, None
        await ended.rollback()

    async def _idle(self) -> Session:
        self._queued = [(session, task) for session, task in self._queued if not task.done()]
        busy = {session.pid for session, _ in self._queued}
        for session in self._opened:
            if session not in (self._holder, self._observer) and session.pid not in busy:
                return session
        return await self._open()

    async def _open(self) -> Session:
        connection = await asyncpg.connect(
            self._url, server_settings=server_settings(PoolLimits().command_seconds)
        )
        await prepare_connection(connection)
        session = Session(connection)
        self._opened.append(session)
        return session


async def _run(call: Call[T], session: Session) -> T:
    return await call(session)


def figures(balance: Balance | None) -> tuple[int, int, int]:
    """Return available, reserved and overage: where the credits stand."""
    assert balance is not None
    return balance.available, balance.reserved, balance.overage
