"""Two sides on connections of their own, and an order that is decided here.

A side whose step does not end is known to stand where it stands because Postgres says
so: at its pause, for which the explorer itself holds the lock, or behind the other side.
Nothing is slept for, and every wait has an end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

import asyncpg
from asyncpg.transaction import Transaction

from app.core.database import PoolLimits, prepare_connection, server_settings
from tests.races.scenes import Operation, Stage, answer
from tests.support.races import POLL_SECONDS, Session

# Longer than Postgres takes to see a deadlock, and than its functions wait for a lock.
STEP_SECONDS: Final = 8.0
DEADLOCK: Final = "deadlock"
STEPS: Final = 3

_BLOCKERS: Final = "select pg_blocking_pids($1)"
_ARM: Final = (
    "select set_config('test.side', $1, false), set_config('test.stop', $2, false),"
    " set_config('test.reached', '0', false), set_config('test.point', '', false)"
)


class Stand(StrEnum):
    """Where a side has come to."""

    ENDED = "ended"
    PAUSED = "paused"
    WAITS = "waits"


class Side:
    """One caller: its connection, what it is about, and what it was answered."""

    def __init__(self, name: str, number: int, session: Session) -> None:
        self.name = name
        self.number = number
        self.session = session
        self.answer = ""
        self.allowed = 0
        self.begun = 0
        self.has_waited = False
        self.task: asyncio.Task[None] | None = None
        self._work: tuple[Operation, Stage]
        self._transaction: Transaction

    def prepare(self, operation: Operation, on: Stage) -> None:
        """Say what it is about to do."""
        self._work = operation, on
        self.answer = ""
        self.allowed = self.begun = 0
        self.has_waited = False

    def step(self) -> None:
        """Begin the next of BEGIN, call, COMMIT."""
        steps = (self._begin, self.call, self._commit)
        self.task = asyncio.ensure_future(steps[self.begun]())
        self.begun += 1

    async def call(self) -> None:
        """Make the call and keep what is answered, a fault too."""
        operation, on = self._work
        try:
            self.answer = await answer(operation, self.session.credits, on)
        except asyncpg.DeadlockDetectedError:
            self.answer = DEADLOCK
        except asyncpg.PostgresError as error:
            self.answer = f"{type(error).__name__}: {error}"

    async def _begin(self) -> None:
        self._transaction = self.session.begin()
        await self._transaction.start()

    async def _commit(self) -> None:
        await self._transaction.commit()


class Explorer:
    """Both sides, and who watches them and holds their pauses."""

    def __init__(self, first: Side, second: Side, keeper: Session) -> None:
        self.first = first
        self.second = second
        self.sides = first, second
        self._keeper = keeper
        self._other = {first: second, second: first}

    async def merge(self, order: str) -> bool:
        """Take the steps of both in this order; who waits takes its own when it may.

        Returns whether one was seen to wait for the other.
        """
        sides = {side.name: side for side in self.sides}
        for name in order:
            sides[name].allowed += 1
            await self._advance(sides[name])
            await self._advance(self._other[sides[name]])
        if (self.first.begun, self.second.begun) != (STEPS, STEPS):
            # Both wait, each for the other: Postgres ends one of them.
            await self._end()
            for side in self.sides:
                side.allowed = STEPS
                await self._advance(side)
        await self._end()
        return self.first.has_waited or self.second.has_waited

    async def pause(self, first_stop: int, second_stop: int) -> tuple[Stand, Stand]:
        """Let the first run to a pause of its, the second as far as it can, then both on.

        Returns where the first stood when the second began, and where that one came to.
        """
        first, second = self.first, self.second
        await self._arm(first, first_stop)
        await self._arm(second, second_stop)
        try:
            first.task = asyncio.ensure_future(first.call())
            first_stood = await self._stand(first)
            second.task = asyncio.ensure_future(second.call())
            second_stood = await self._stand(second)
            await self._let_go(first)
            await self._stand(first)
        finally:
            await self._release()
        await self._end()
        return first_stood, second_stood

    async def point(self, side: Side) -> str:
        """Return the pause at which its last call was stopped; none is empty."""
        point: str = await side.session.value("select current_setting('test.point')")
        return point

    async def count(self, side: Side) -> int:
        """Make its call without stopping it, and return how many pauses it passes."""
        await self._configure(side, 0)
        async with asyncio.timeout(STEP_SECONDS):
            await side.call()
        return int(await side.session.value("select current_setting('test.reached')"))

    async def _advance(self, side: Side) -> None:
        while True:
            if side.task is not None:
                if await self._stand(side) is Stand.WAITS:
                    return
                await side.task
                side.task = None
            if side.begun == side.allowed:
                return
            side.step()

    async def _stand(self, side: Side) -> Stand:
        """Wait until Postgres knows where it stands."""
        assert side.task is not None
        other = self._other[side].session.pid
        async with asyncio.timeout(STEP_SECONDS):
            while True:
                done, _ = await asyncio.wait({side.task}, timeout=POLL_SECONDS)
                if done:
                    return Stand.ENDED
                blockers = await self._keeper.value(_BLOCKERS, side.session.pid)
                if self._keeper.pid in blockers:
                    return Stand.PAUSED
                if other in blockers:
                    side.has_waited = True
                    return Stand.WAITS

    async def _end(self) -> None:
        async with asyncio.timeout(STEP_SECONDS):
            for side in self.sides:
                if side.task is not None:
                    await side.task
                    side.task = None

    async def _configure(self, side: Side, stop: int) -> None:
        await side.session.fetch(_ARM, str(side.number), str(stop))

    async def _arm(self, side: Side, stop: int) -> None:
        await self._configure(side, stop)
        await self._keeper.fetch("select pg_advisory_lock($1)", side.number)

    async def _let_go(self, side: Side) -> None:
        await self._keeper.fetch("select pg_advisory_unlock($1)", side.number)

    async def _release(self) -> None:
        await self._keeper.fetch("select pg_advisory_unlock_all()")


@asynccontextmanager
async def exploring(url: str) -> AsyncIterator[Explorer]:
    """Open both sides and the keeper, under the application's own role."""
    opened = [await _open(url) for _ in range(3)]
    explorer = Explorer(Side("A", 1, opened[0]), Side("B", 2, opened[1]), opened[2])
    try:
        yield explorer
    finally:
        # Whoever still waits is broken off: that it did not end is known by now.
        for session in opened:
            session._connection.terminate()
        left = [task for task in (explorer.first.task, explorer.second.task) if task is not None]
        await asyncio.gather(*left, return_exceptions=True)


async def _open(url: str) -> Session:
    connection = await asyncpg.connect(
        url, server_settings=server_settings(PoolLimits().command_seconds)
    )
    await prepare_connection(connection)
    return Session(connection)
