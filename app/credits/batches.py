"""Requests of one account that arrive while a call is on its way go together in the next.

The way Postgres groups commits: nobody waits for company. A request that finds nothing of
its account under way is sent at once, alone; those that come meanwhile form a set, which is
decided in the order in which they came. A hot account so pays one lock, one commit and one
push for up to 256 requests, and holds one connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from app.core.database import Unavailable
from app.core.refusals import Refusal

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Send = Callable[[UUID, Sequence[Request]], Awaitable[list[Answer]]]

# As many as the SQL functions take.
SET_LIMIT = 256
WAITING_LIMIT = 16 * SET_LIMIT
# As long as one waits for a connection of the pool. Then it is not sent any more.
WAITING_SECONDS = 5.0


@dataclass(slots=True)
class _Asked(Generic[Request, Answer]):
    """A request, and who waits for its answer."""

    request: Request
    answer: "asyncio.Future[Answer]"
    too_late: float


@dataclass(slots=True)
class _Lane(Generic[Request, Answer]):
    """What an account has waiting, and the task that sends it."""

    waiting: deque[_Asked[Request, Answer]] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None


class Batches(Generic[Request, Answer]):
    """One operation's requests, gathered by account."""

    def __init__(self, send: Send[Request, Answer]) -> None:
        self._send = send
        self._lanes: dict[UUID, _Lane[Request, Answer]] = {}

    @property
    def lanes(self) -> int:
        """How many accounts have a call under way."""
        return len(self._lanes)

    async def ask(self, account_id: UUID, request: Request) -> Answer:
        """Return the answer to a request; BUSY if too much is waiting already, or for too long.

        Who stops waiting before the request was sent has asked nothing. Afterwards it may
        still be done: the same request with the same key gets that answer.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(account_id)
        if lane is None:
            lane = self._lanes[account_id] = _Lane()
            # Not the task of who asks first, who may leave while others wait.
            lane.task = loop.create_task(self._run(account_id, lane), name="credits in sets")
        elif len(lane.waiting) >= WAITING_LIMIT:
            raise Refusal("BUSY")
        asked: _Asked[Request, Answer] = _Asked(
            request, loop.create_future(), loop.time() + WAITING_SECONDS
        )
        lane.waiting.append(asked)
        return await asked.answer

    async def _run(self, account_id: UUID, lane: _Lane[Request, Answer]) -> None:
        try:
            while asked := _take(lane.waiting):
                await self._decide(account_id, asked)
        finally:
            # Without a pause since the last look: who comes now finds no lane, and opens one.
            del self._lanes[account_id]
            for left in lane.waiting:
                left.answer.cancel()

    async def _decide(self, account_id: UUID, asked: list[_Asked[Request, Answer]]) -> None:
        """Send a set and hand out what it answered."""
        try:
            answers = await self._send(account_id, [each.request for each in asked])
        except asyncio.CancelledError:
            for each in asked:
                each.answer.cancel()
            raise
        except (Refusal, Unavailable) as error:
            # The account is not there, or locked, or Postgres is gone: that is all of theirs.
            _fail(asked, error=error)
        except Exception as error:  # noqa: BLE001  # it is passed on to who asked
            if len(asked) == 1:
                _fail(asked, error=error)
                return
            # One of them cannot even be sent. Whose fault it is shows in halves; keys make it
            # safe to ask again.
            middle = len(asked) // 2
            await self._decide(account_id, asked[:middle])
            await self._decide(account_id, asked[middle:])
        else:
            for each, answer in zip(asked, answers, strict=True):
                if not each.answer.done():
                    each.answer.set_result(answer)


def _take(waiting: deque[_Asked[Request, Answer]]) -> list[_Asked[Request, Answer]]:
    """Return the next set: those that are still waited for, and have not waited too long."""
    now = asyncio.get_running_loop().time()
    taken: list[_Asked[Request, Answer]] = []
    while waiting and len(taken) < SET_LIMIT:
        asked = waiting.popleft()
        if asked.answer.done():
            continue
        if asked.too_late < now:
            asked.answer.set_exception(Refusal("BUSY"))
        else:
            taken.append(asked)
    return taken


def _fail(asked: list[_Asked[Request, Answer]], *, error: Exception) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)
