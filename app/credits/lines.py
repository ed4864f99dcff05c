"""Who waits for what: the requests of each account, in the order in which they came."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
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


@dataclass(slots=True)
class Count:
    """How many wait, in all lines together."""

    waiting: int = 0


@dataclass(slots=True, eq=False)
class Line(Generic[Request, Answer]):
    """What waits for one account, and what of it is under way: one call at a time.

    It is sent by a shared lane, or by a task of its own.
    """

    account_id: UUID
    count: Count
    waiting: deque[Asked[Request, Answer]] = field(default_factory=deque)
    under_way: Sequence[Asked[Request, Answer]] = ()
    # Whether the last call for many decided for it, or found that somebody held it; and in how
    # many it was held since one decided.
    is_decided: bool = False
    is_held: bool = False
    times_held: int = 0
    lane: "Lane[Request, Answer] | None" = None
    task: "asyncio.Task[None] | None" = None

    def add(self, asked: Asked[Request, Answer]) -> None:
        """Let a request wait."""
        self.waiting.append(asked)
        self.count.waiting += 1

    def take(self, most: int, now: float) -> None:
        """Let those who have waited longest be under way."""
        taken: list[Asked[Request, Answer]] = []
        waiting = self.waiting
        before = len(waiting)
        while waiting and len(taken) < most:
            asked = waiting.popleft()
            if asked.is_due(now):
                taken.append(asked)
        self.count.waiting -= before - len(waiting)
        self.under_way = taken
        self.is_decided = self.is_held = False

    def put_back(self, too_late: float | None = None) -> bool:
        """Let what was not answered wait on, before all that came since; say if any was.

        It waits anew if another time is given.
        """
        left = [asked for asked in self.under_way if not asked.answer.done()]
        for asked in reversed(left):
            asked.too_late = asked.too_late if too_late is None else too_late
            self.waiting.appendleft(asked)
        self.count.waiting += len(left)
        self.under_way = ()
        return bool(left)

    def drop(self, now: float) -> None:
        """Tell those who have waited too long, and forget those who have left."""
        due = [asked for asked in self.waiting if asked.is_due(now)]
        self.count.waiting -= len(self.waiting) - len(due)
        self.waiting = deque(due)

    def end(self, error: Exception) -> None:
        """Nobody will answer any more."""
        fail((*self.under_way, *self.waiting), error=error)
        self.count.waiting -= len(self.waiting)
        self.under_way = ()
        self.waiting.clear()


@dataclass(slots=True, eq=False)
class Lane(Generic[Request, Answer]):
    """Sends the lines of several accounts together: those that are ready, in turn."""

    ready: deque[Line[Request, Answer]] = field(default_factory=deque)
    under_way: Sequence[Line[Request, Answer]] = ()
    is_starting: bool = False
    task: "asyncio.Task[None] | None" = None

    def take(self, most: int, now: float) -> list[Line[Request, Answer]]:
        """Let those who have waited longest be under way; return the lines none of which is."""
        taken: list[Line[Request, Answer]] = []
        left: list[Line[Request, Answer]] = []
        while self.ready and most:
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

    They keep to themselves for a while, which doubles each time it is found again. Who has no
    credits keeps to itself from one refusal to the next: however often or seldom it asks, no call
    is made in vain before each.
    """

    def __init__(self) -> None:
        # By their numbers, which are looked up faster than UUIDs.
        self._until: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def is_apart(self, account_id: UUID, now: float) -> bool:
        """Whether an account still keeps to itself."""
        until = self._until.get(account_id.int)
        return until is not None and until[0] > now

    def add(self, account_id: UUID, now: float) -> None:
        """Note that a shared call could not decide for an account."""
        until, seconds = self._until.pop(account_id.int, (now, 0.0))
        if until + APART_SECONDS_AT_MOST < now:
            # That was another matter.
            seconds = 0.0
        self._keep(account_id, now, min(max(2 * seconds, APART_SECONDS), APART_SECONDS_AT_MOST))

    def stay(self, account_id: UUID, now: float) -> None:
        """Note that an account was found short of credits: it is until it gets some."""
        self._until.pop(account_id.int, None)
        self._keep(account_id, now, APART_SECONDS_AT_MOST)

    def _keep(self, account_id: UUID, now: float, seconds: float) -> None:
        if len(self._until) >= APART_LIMIT:
            self._until.popitem(last=False)
        self._until[account_id.int] = (now + seconds, seconds)

    def forget(self, account_id: UUID) -> None:
        """Note that a shared call decided for an account."""
        self._until.pop(account_id.int, None)


def hand_out(asked: Sequence[Asked[Request, Answer]], answers: Sequence[Answer]) -> None:
    """Give each its answer."""
    _assert_as_many(len(asked), answers)
    for each, answer in zip(asked, answers, strict=True):
        if not each.answer.done():
            each.answer.set_result(answer)


def hand_out_many(
    lines: Sequence[Line[Request, Answer]],
    answers: Sequence[Answer | None],
    is_held: Callable[[Answer], bool],
) -> None:
    """Give each request of several accounts its answer, but for those that were not decided."""
    _assert_as_many(sum(len(line.under_way) for line in lines), answers)
    place = 0
    for line in lines:
        first = answers[place]
        # One account's are decided together, or none of them.
        if first is None:
            place += len(line.under_way)
        elif is_held(first):
            place += len(line.under_way)
            line.is_held = True
            line.times_held += 1
        else:
            line.is_decided = True
            line.times_held = 0
            for each in line.under_way:
                answer = answers[place]
                place += 1
                if answer is None:
                    line.is_decided = False
                elif not each.answer.done():
                    each.answer.set_result(answer)


def _assert_as_many(asked: int, answers: Sequence[object]) -> None:
    # Before any gets another's.
    if len(answers) != asked:
        raise ValueError(f"{len(answers)} answers to {asked} requests")


def fail(asked: Iterable[Asked[Request, Answer]], *, error: Exception) -> None:
    """Tell all of them."""
    for each in asked:
        if not each.answer.done():
            each.answer.set_exception(error)
