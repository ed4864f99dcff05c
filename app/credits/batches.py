"""Requests that arrive while a call is on its way go together in the next.

The way Postgres groups commits: nobody waits for company. What finds nothing under way is sent at
once, alone or with what came in the same turn of the loop; what comes meanwhile forms a set. The
requests of an account stand in one line and are decided in the order in which they came, one call
at a time. Two kinds of calls take from the lines:

* A call of one account: one lock, one commit and one push for up to 256 requests. It waits for
  the lock, and only its account waits with it. There is a bound to how many are under way.
* A few shared lanes call the function of many accounts: one lock each and one commit for up to
  256 requests. It waits for no lock and decides only what is plain; the rest goes on alone.

An account goes alone while little is under way, when it has a crowd waiting, and for a while
after a shared call could not decide for it or it was short of credits; else it rides in the
shared lane of its id. Whom somebody held in a shared call rides in the next, if there is
company, before it goes alone and waits. Who goes alone does so until nothing of it is waiting.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Generic
from uuid import UUID

import asyncpg

from app.core.database import TimedOut, Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.credits.calls import WAITING_SECONDS
from app.credits.lines import (
    Answer,
    Apart,
    Asked,
    Count,
    Lane,
    Line,
    Request,
    fail,
    hand_out,
    hand_out_many,
)

Send = Callable[[UUID, Sequence[Request]], Awaitable[list[Answer]]]
# None, or one that says that somebody holds the account, for a request that was not decided.
SendMany = Callable[[Sequence[UUID], Sequence[Request]], Awaitable[list[Answer | None]]]

# As many as the SQL functions take.
SET_LIMIT = 256
# For one account, and for all.
WAITING_LIMIT = 16 * SET_LIMIT
WAITING_LIMIT_OF_ALL = 16 * WAITING_LIMIT
SHARED_LANES = 2
# So many accounts go alone for the asking; others then only if they need to.
QUIET = 4
# Who has so many waiting in a shared lane fills sets of its own.
CROWD = 64
# So often in a row a shared lane looks at an account that somebody holds.
HELD_LOOKS = 3
# Those who wait for a turn are told at most so often that it is too late.
_LOOK_SECONDS = 0.1
# What the driver or Postgres says of a request that cannot even be read.
_CANNOT_BE_SENT = (asyncpg.DataError, ValueError, TypeError)


class Batches(Generic[Request, Answer]):
    """One operation's requests, gathered."""

    def __init__(
        self,
        send: Send[Request, Answer],
        send_many: SendMany[Request, Answer] | None = None,
        *,
        calls: asyncio.Semaphore,
        shared_lanes: int = SHARED_LANES,
        is_held: Callable[[Answer], bool] = lambda _: False,
        is_short: Callable[[Answer], bool] = lambda _: False,
    ) -> None:
        """Take how to call; `calls` bounds calls of one account, which may wait for locks.

        `is_held` tells of an answer of many whether somebody else held the account, `is_short`
        of an answer of one whether the account has not the credits for it.
        """
        self._send = send
        self._send_many = send_many if shared_lanes else None
        self._calls = calls
        self._is_held = is_held
        self._is_short = is_short
        # By the accounts' numbers, which are looked up faster than UUIDs.
        self._lines: dict[int, Line[Request, Answer]] = {}
        self._shared: list[Lane[Request, Answer]] = [Lane() for _ in range(shared_lanes)]
        self._apart = Apart()
        self._count = Count()
        self._alone = 0

    @property
    def lanes(self) -> int:
        """How many tasks are sending."""
        return self._alone + sum(lane.task is not None for lane in self._shared)

    async def ask(self, account_id: UUID, request: Request) -> Answer:
        """Return the answer to a request; BUSY if too much is waiting already, or for too long.

        Who stops waiting before the request was sent has asked nothing. Afterwards it may
        still be done: the same request with the same key gets that answer.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        known = self._lines.get(account_id.int)
        if self._count.waiting >= WAITING_LIMIT_OF_ALL or (
            known is not None and len(known.waiting) >= WAITING_LIMIT
        ):
            raise Refusal("BUSY")
        line = known or Line(account_id, self._count)
        asked: Asked[Request, Answer] = Asked(request, loop.create_future(), now + WAITING_SECONDS)
        line.add(asked)
        if known is None:
            self._open(line, now)
        elif line.lane is not None and _is_crowd(line) and not line.under_way:
            self._go_alone(line)
        return await asked.answer

    def _open(self, line: Line[Request, Answer], now: float) -> None:
        """Let a new line be sent by someone."""
        self._lines[line.account_id.int] = line
        if self._send_many is None or self._apart.is_apart(line.account_id, now):
            self._go_alone(line)
            return
        lane = line.lane = self._shared[line.account_id.int % len(self._shared)]
        lane.ready.append(line)
        if lane.task is None and not lane.is_starting:
            # Once all have asked who do so in this turn of the loop.
            lane.is_starting = True
            asyncio.get_running_loop().call_soon(self._start, lane, self._send_many)

    def _start(self, lane: Lane[Request, Answer], send: SendMany[Request, Answer]) -> None:
        """Send what came to an idle lane: a few lines alone, more of them together."""
        lane.is_starting = False
        lines = [line for line in lane.ready if line.lane is lane]
        if self._alone + len(lines) <= QUIET and not self._calls.locked():
            lane.ready.clear()
            for line in lines:
                self._go_alone(line)
            return
        lane.task = _task(self._run_shared(lane, send), "credits of many accounts")
        # Also one that was ended before it began leaves nobody waiting.
        lane.task.add_done_callback(lambda task: self._leave(lane, task))

    # Alone.

    def _go_alone(self, line: Line[Request, Answer]) -> None:
        line.lane = None
        self._alone += 1
        line.task = _task(self._run(line), "credits of one account")
        line.task.add_done_callback(lambda _: self._close(line))

    async def _run(self, line: Line[Request, Answer]) -> None:
        loop = asyncio.get_running_loop()
        try:
            while line.waiting and await self._turn(line):
                try:
                    line.take(SET_LIMIT, loop.time())
                    if line.under_way:
                        await self._decide(line.account_id, line.under_way)
                finally:
                    self._calls.release()
                line.under_way = ()
        finally:
            # Without a pause since the last look: who comes now finds no line, and opens one.
            self._close(line)

    async def _turn(self, line: Line[Request, Answer]) -> bool:
        """Wait until one more call may be under way; False if nobody waits for it any more."""
        if not self._calls.locked():
            return await self._calls.acquire()
        loop = asyncio.get_running_loop()
        acquiring = asyncio.ensure_future(self._calls.acquire())
        is_taken = False
        try:
            while line.waiting:
                wait = min(asked.too_late for asked in line.waiting) - loop.time()
                done, _ = await asyncio.wait({acquiring}, timeout=max(wait, _LOOK_SECONDS))
                if done:
                    is_taken = True
                    return True
                line.drop(loop.time())
            return False
        finally:
            if not acquiring.done():
                acquiring.cancel()
            elif not is_taken:
                self._calls.release()

    async def _decide(self, account_id: UUID, asked: Sequence[Asked[Request, Answer]]) -> None:
        """Send a set and hand out what it answered."""
        try:
            answers = await self._send(account_id, [each.request for each in asked])
            hand_out(asked, answers)
            if self._is_short(answers[-1]):
                self._apart.stay(account_id, asyncio.get_running_loop().time())
        except (Refusal, Unavailable) as error:
            # The account is not there, or locked, or Postgres is gone: that is all of theirs.
            fail(asked, error=error)
        except Exception as error:  # noqa: BLE001  # it is passed on to who asked
            if len(asked) == 1:
                fail(asked, error=error)
                return
            # One of them cannot even be sent, or is answered by a fault. Whose fault it is shows
            # in halves; keys make it safe to ask again.
            middle = len(asked) // 2
            for half in (asked[:middle], asked[middle:]):
                now = asyncio.get_running_loop().time()
                if still := [each for each in half if each.is_due(now)]:
                    await self._decide(account_id, still)

    def _close(self, line: Line[Request, Answer]) -> None:
        if self._lines.get(line.account_id.int) is line:
            del self._lines[line.account_id.int]
            self._alone -= line.lane is None
            if line.waiting or line.under_way:
                line.end(Unavailable("what was to send it has ended"))

    # Beside others.

    async def _run_shared(
        self, lane: Lane[Request, Answer], send: SendMany[Request, Answer]
    ) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            while lane.ready:
                for line in lane.take(SET_LIMIT, loop.time()):
                    self._go_on(lane, line)
                if lane.under_way:
                    await self._decide_many(send, lane.under_way)
                for line in lane.under_way:
                    self._go_on(lane, line)
                lane.under_way = ()
        finally:
            self._leave(lane, task)

    async def _decide_many(
        self, send: SendMany[Request, Answer], lines: Sequence[Line[Request, Answer]]
    ) -> None:
        """Send the sets of several accounts and hand out what was decided of them.

        What nobody could answer for all is not decided; see `_go_on` for what becomes of that.
        """
        asked = [each for line in lines for each in line.under_way]
        accounts = [line.account_id for line in lines for _ in line.under_way]
        try:
            answers = await send(accounts, [each.request for each in asked])
            hand_out_many(lines, answers, self._is_held)
        except TimedOut as error:
            # It did nothing. Whose fault it was shows account by account.
            log.warning("credits.shared_call_timed_out", accounts=len(lines), exc_info=error)
        except (Refusal, Unavailable) as error:
            # A table is locked, or Postgres is gone: that is all of theirs.
            fail(asked, error=error)
        except _CANNOT_BE_SENT as error:
            # One account's. Whose shows in halves, as with one account.
            if len(lines) == 1:
                log.warning(
                    "credits.asked_alone", account_id=str(lines[0].account_id), exc_info=error
                )
                return
            middle = len(lines) // 2
            await self._decide_many(send, lines[:middle])
            await self._decide_many(send, lines[middle:])
        except Exception as error:  # noqa: BLE001  # who asks alone is told
            log.warning("credits.shared_call_failed", accounts=len(lines), exc_info=error)

    def _go_on(self, lane: Lane[Request, Answer], line: Line[Request, Answer]) -> None:
        """Let a line that a shared lane has looked at wait again, go alone, or end."""
        if line.is_decided and not line.waiting:
            # As nearly always.
            line.under_way = ()
            self._apart.forget(line.account_id)
            self._close(line)
            return
        now = asyncio.get_running_loop().time()
        is_soon_free = line.is_held and line.times_held < HELD_LOOKS
        rides_on = (
            is_soon_free
            and len(line.under_way) + len(line.waiting) <= CROWD
            # Nobody keeps a lane busy with looking at it alone. Who went alone may still be there.
            and any(each.lane is lane for each in lane.ready)
        )
        was_undecided = line.put_back(None if rides_on else now + WAITING_SECONDS)
        if line.is_decided:
            self._apart.forget(line.account_id)
        elif was_undecided and not is_soon_free:
            self._apart.add(line.account_id, now)
        if not line.waiting:
            self._close(line)
        elif rides_on:
            lane.ready.appendleft(line)
        elif was_undecided or line.is_held or _is_crowd(line):
            self._go_alone(line)
        else:
            lane.ready.append(line)

    def _leave(self, lane: Lane[Request, Answer], task: "asyncio.Task[None] | None") -> None:
        """Nobody sends for a shared lane any more, unless another task does by now."""
        if lane.task is not task:
            return
        lane.task = None
        for line in (*lane.under_way, *lane.ready):
            if line.lane is lane:
                self._close(line)
        lane.under_way = ()
        lane.ready.clear()


def _is_crowd(line: Line[Request, Answer]) -> bool:
    return len(line.waiting) > CROWD


def _task(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
    # In no caller's context: it serves others too, and its log is not that caller's.
    return asyncio.create_task(work, name=name, context=contextvars.Context())
