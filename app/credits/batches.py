"""Requests that arrive while a call is on its way go together in the next.

The way Postgres groups commits: nobody waits for company. What finds nothing under way is sent
at once, alone; what comes meanwhile forms a set, which is decided in the order in which it
came. Two kinds of lanes carry requests:

* An account's own lane calls the function of one account: one lock, one commit and one push for
  up to 256 requests. It waits for the lock, and only its account waits with it.
* A few shared lanes call the function of many accounts: one commit for up to 64 of them. It
  waits for no lock and decides only what is plain; the rest goes on in lanes of its own.

An account has a lane of its own while little is under way, while it has a crowd waiting, and
while a shared lane could not decide for it; else it rides in the shared lane of its id.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log

Request = TypeVar("Request")
Answer = TypeVar("Answer")

Send = Callable[[UUID, Sequence[Request]], Awaitable[list[Answer]]]
# None for a request that was not decided.
SendMany = Callable[[Sequence[UUID], Sequence[Request]], Awaitable[list[Answer | None]]]

# As many as the SQL functions take.
SET_LIMIT = 256
ACCOUNTS_LIMIT = 64
WAITING_LIMIT = 16 * SET_LIMIT
# As long as one waits for a connection of the pool. Then it is not sent any more.
WAITING_SECONDS = 5.0
SHARED_LANES = 2
# So many accounts have a lane of their own for the asking; others then only if they need one.
QUIET = 4
# Who has so many waiting in a shared lane fills sets of its own.
CROWD = 64


@dataclass(slots=True)
class _Asked(Generic[Request, Answer]):
    """A request, and who waits for its answer."""

    account_id: UUID
    request: Request
    answer: "asyncio.Future[Answer]"
    too_late: float

    def is_due(self, now: float) -> bool:
        """Whether it is still waited for, and has not waited too long."""
        if self.answer.done():
            return False
        if self.too_late < now:
            self.answer.set_exception(Refusal("BUSY"))
            return False
        return True


@dataclass(slots=True)
class _Lane(Generic[Request, Answer]):
    """What is waiting, how much of it for whom, and the task that sends it."""

    waiting: deque[_Asked[Request, Answer]] = field(default_factory=deque)
    crowds: Counter[UUID] = field(default_factory=Counter)
    task: "asyncio.Task[None] | None" = None

    def add(self, asked: _Asked[Request, Answer]) -> None:
        self.waiting.append(asked)
        self.crowds[asked.account_id] += 1

    def next(self) -> _Asked[Request, Answer]:
        """Take who has waited longest."""
        asked = self.waiting.popleft()
        self.crowds[asked.account_id] -= 1
        if not self.crowds[asked.account_id]:
            del self.crowds[asked.account_id]
        return asked

    def leave(self) -> None:
        """Nobody sends any more."""
        self.task = None
        while self.waiting:
            self.next().answer.cancel()


class Batches(Generic[Request, Answer]):
    """One operation's requests, gathered."""

    def __init__(
        self,
        send: Send[Request, Answer],
        send_many: SendMany[Request, Answer] | None = None,
        *,
        shared_lanes: int = SHARED_LANES,
    ) -> None:
        self._send = send
        self._send_many = send_many if shared_lanes else None
        self._own: dict[UUID, _Lane[Request, Answer]] = {}
        self._shared: list[_Lane[Request, Answer]] = [_Lane() for _ in range(shared_lanes)]

    @property
    def lanes(self) -> int:
        """How many lanes have a call under way."""
        return len(self._own) + sum(lane.task is not None for lane in self._shared)

    async def ask(self, account_id: UUID, request: Request) -> Answer:
        """Return the answer to a request; BUSY if too much is waiting already, or for too long.

        Who stops waiting before the request was sent has asked nothing. Afterwards it may
        still be done: the same request with the same key gets that answer.
        """
        loop = asyncio.get_running_loop()
        lane = self._lane_of(account_id)
        if len(lane.waiting) >= WAITING_LIMIT:
            raise Refusal("BUSY")
        asked: _Asked[Request, Answer] = _Asked(
            account_id, request, loop.create_future(), loop.time() + WAITING_SECONDS
        )
        lane.add(asked)
        return await asked.answer

    def _lane_of(self, account_id: UUID) -> _Lane[Request, Answer]:
        """Return the lane of an account, which has a task."""
        if account_id in self._own or self._send_many is None:
            return self._lane_of_its_own(account_id)
        shared = self._shared[account_id.int % len(self._shared)]
        if shared.task is None:
            if len(self._own) < QUIET:
                return self._lane_of_its_own(account_id)
            # Not the task of who asks first, who may leave while others wait.
            shared.task = asyncio.create_task(
                self._run_shared(shared, self._send_many), name="credits of many accounts"
            )
        elif shared.crowds[account_id] >= CROWD:
            own = self._lane_of_its_own(account_id)
            # In the order in which they came.
            for _ in range(len(shared.waiting)):
                asked = shared.next()
                (own if asked.account_id == account_id else shared).add(asked)
            return own
        return shared

    def _lane_of_its_own(self, account_id: UUID) -> _Lane[Request, Answer]:
        lane = self._own.get(account_id)
        if lane is None:
            lane = self._own[account_id] = _Lane()
            lane.task = asyncio.create_task(self._run(account_id, lane), name="credits of one")
        return lane

    async def _run(self, account_id: UUID, lane: _Lane[Request, Answer]) -> None:
        try:
            while asked := _take(lane):
                await self._decide(account_id, asked)
        finally:
            # Without a pause since the last look: who comes now finds no lane, and opens one.
            del self._own[account_id]
            lane.leave()

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

    async def _run_shared(
        self, lane: _Lane[Request, Answer], send: SendMany[Request, Answer]
    ) -> None:
        try:
            while asked := self._take_shared(lane):
                self._send_alone(await _decide_many(send, asked))
        finally:
            lane.leave()

    def _take_shared(self, lane: _Lane[Request, Answer]) -> list[_Asked[Request, Answer]]:
        """Return the next set; who has a lane of its own by now goes on there."""
        now = asyncio.get_running_loop().time()
        taken: list[_Asked[Request, Answer]] = []
        accounts: set[UUID] = set()
        while lane.waiting and len(taken) < SET_LIMIT:
            account_id = lane.waiting[0].account_id
            if account_id not in accounts and len(accounts) == ACCOUNTS_LIMIT:
                break
            asked = lane.next()
            if not asked.is_due(now):
                continue
            if account_id in self._own:
                self._own[account_id].add(asked)
                continue
            accounts.add(account_id)
            taken.append(asked)
        return taken

    def _send_alone(self, asked: Iterable[_Asked[Request, Answer]]) -> None:
        for each in asked:
            self._lane_of_its_own(each.account_id).add(each)


async def _decide_many(
    send: SendMany[Request, Answer], asked: list[_Asked[Request, Answer]]
) -> list[_Asked[Request, Answer]]:
    """Send a set of several accounts, hand out what it answered; return what it did not."""
    try:
        answers = await send([each.account_id for each in asked], [each.request for each in asked])
    except asyncio.CancelledError:
        for each in asked:
            each.answer.cancel()
        raise
    except Unavailable as error:
        _fail(asked, error=error)
        return []
    except Exception as error:  # noqa: BLE001  # who asks alone is told
        # Whose fault it is shows account by account; keys make it safe to ask again.
        log.warning("credits.asked_alone", exc_info=error)
        return asked
    undecided = []
    for each, answer in zip(asked, answers, strict=True):
        if answer is None:
            undecided.append(each)
        elif not each.answer.done():
            each.answer.set_result(answer)
    return undecided


def _take(lane: _Lane[Request, Answer]) -> list[_Asked[Request, Answer]]:
    """Return the next set."""
    now = asyncio.get_running_loop().time()
    taken: list[_Asked[Request, Answer]] = []
    while lane.waiting and len(taken) < SET_LIMIT:
        asked = lane.next()
        if asked.is_due(now):
            taken.append(asked)
    return taken


def _fail(asked: list[_Asked[Request, Answer]], *, error: Exception) -> None:
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)
