"""Who waits for what: the requests of each account, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from app.core.refusals import Refusal

Request = TypeVar("Request")
Answer = TypeVar("Answer")

# How long an account that a shared call could not decide keeps to itself: at first, and at most.
APART_SECONDS = 1.0
APART_SECONDS_AT_MOST = 16.0
APART_LIMIT = 65_536


@dataclass(slots=True)
class Asked(Generic[Request, Answer]):
    """A request, and who waits for its answer."""

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


@dataclass(slots=True, eq=False)
class Line(Generic[Request, Answer]):
    """What waits for one account, and what of it is under way: one call at a time.

    It is sent by a shared lane, or by a task of its own.
    """

    account_id: UUID
    waiting: deque[Asked[Request, Answer]] = field(default_factory=deque)
    under_way: Sequence[Asked[Request, Answer]] = ()
    lane: "Lane[Request, Answer] | None" = None
    task: "asyncio.Task[None] | None" = None

    def take(self, most: int, now: float) -> None:
        """Let those who have waited longest be under way."""
        taken: list[Asked[Request, Answer]] = []
        while self.waiting and len(taken) < most:
            asked = self.waiting.popleft()
            if asked.is_due(now):
                taken.append(asked)
        self.under_way = taken

    def put_back(self) -> bool:
        """Let what was not answered wait again, before all that came since; say if any was."""
        left = [asked for asked in self.under_way if not asked.answer.done()]
        self.waiting.extendleft(reversed(left))
        self.under_way = ()
        return bool(left)

    def cancel(self) -> None:
        """Nobody will answer any more."""
        for asked in (*self.under_way, *self.waiting):
            asked.answer.cancel()
        self.under_way = ()
        self.waiting.clear()


@dataclass(slots=True, eq=False)
class Lane(Generic[Request, Answer]):
    """Sends the lines of several accounts together: those that are ready, in turn."""

    ready: deque[Line[Request, Answer]] = field(default_factory=deque)
    under_way: Sequence[Line[Request, Answer]] = ()
    task: "asyncio.Task[None] | None" = None

    def take(self, most: int, most_lines: int, now: float) -> list[Line[Request, Answer]]:
        """Let those who have waited longest be under way; return the lines none of which is."""
        taken: list[Line[Request, Answer]] = []
        left: list[Line[Request, Answer]] = []
        while self.ready and most and len(taken) < most_lines:
            line = self.ready.popleft()
            if line.lane is not self:
                # It has a task of its own by now.
                continue
            line.take(most, now)
            most -= len(line.under_way)
            (taken if line.under_way else left).append(line)
        self.under_way = taken
        return left


class Apart:
    """Accounts of which something needs a second look, as a shared call found.

    They keep to themselves for a while, which doubles each time it is found again: who has no
    credits and goes on asking costs no call in vain before each refusal.
    """

    def __init__(self) -> None:
        self._until: dict[UUID, tuple[float, float]] = {}

    def is_apart(self, account_id: UUID, now: float) -> bool:
        """Whether an account still keeps to itself."""
        return account_id in self._until and self._until[account_id][0] > now

    def add(self, account_id: UUID, now: float) -> None:
        """Note that a shared call could not decide for an account."""
        _, seconds = self._until.pop(account_id, (now, APART_SECONDS / 2))
        if len(self._until) >= APART_LIMIT:
            del self._until[next(iter(self._until))]
        seconds = min(2 * seconds, APART_SECONDS_AT_MOST)
        self._until[account_id] = (now + seconds, seconds)

    def forget(self, account_id: UUID) -> None:
        """Note that a shared call decided for an account."""
        self._until.pop(account_id, None)


def hand_out(asked: Sequence[Asked[Request, Answer]], answers: Sequence[Answer | None]) -> None:
    """Give each its answer; None is none yet."""
    if len(answers) != len(asked):
        # Before any gets another's.
        raise ValueError(f"{len(answers)} answers to {len(asked)} requests")
    for each, answer in zip(asked, answers, strict=True):
        if answer is not None and not each.answer.done():
            each.answer.set_result(answer)


def fail(asked: Iterable[Asked[Request, Answer]], *, error: Exception) -> None:
    """Tell all of them."""
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)
