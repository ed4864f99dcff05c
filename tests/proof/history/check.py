"""Whether what many callers were told at once fits one order, and the order of their time.

Every answer says between which versions of its account it was decided, so the versions claim an
order. The check replays the answers in it through the model; it does not search. It finds

* an answer that is not what this order gives, a version that two answers claim, and one that
  nobody was told of;
* an answer that comes before another though it was asked for after that had been given;
* a refusal that fits no moment between its question and itself.

Linear in the number of calls, but for the refusals, each of which is tried at the moments it
may have been decided at: about as many as there are callers. A call that was not answered is not
in the history; if it took effect, its versions are among those that nobody was told of.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.rows import Checked
from tests.proof.model.account import Account
from tests.proof.model.call import mark, restore
from tests.proof.model.compare import Mismatch, same
from tests.proof.model.shapes import Grant, Reservation
from tests.proof.model.steps import Step

# How long a call waits for its account.
LOCK_NANOSECONDS = 2_000_000_000
# What is asked alone and may ride with others in one set.
RIDES = {"reserve", "extend", "settle", "release"}
# An argument by which the product is told a thing's id, where the model takes the thing.
_THINGS = {"reservation_id": "reservation"}


@dataclass(frozen=True)
class Told:
    """A call: what was asked when, by which clock of the database, and what was answered."""

    name: str
    account_id: UUID
    args: tuple[Any, ...]
    more: dict[str, Any]
    clock: datetime
    started: int
    ended: int
    # A row, the rows of a set, or a refusal.
    answer: Any

    @property
    def versions(self) -> tuple[int, int] | None:
        """Return the versions before and after it; a refusal that was raised tells none."""
        if isinstance(self.answer, Refusal):
            return None
        rows = self.answer if isinstance(self.answer, list) else [self.answer]
        after: int = rows[-1].balance.balance_version
        if isinstance(rows[0], Checked):
            return after, after
        before: int = rows[0].version_before
        return before, after

    def shown(self) -> str:
        """Return what was asked of which account, and when by its versions."""
        step = Step(self.name, self.args, self.more)
        return f"{step.told()} of {self.account_id}, versions {self.versions}"


class Recorder:
    """Stands in the place of `Credits` and writes down what is asked and answered.

    The database's clock must stand while calls are under way: say where, in `clock`. What falls
    due must be worked by a call that is answered before many ask at once: a refusal tells of no
    version, and may have worked some.
    """

    def __init__(self, credits: Credits, clock: datetime) -> None:
        self._credits = credits
        self.clock = clock
        self.calls: list[Told] = []

    def __getattr__(self, name: str) -> Any:
        """Return a method of `Credits` whose calls are written down."""
        method = getattr(self._credits, name)

        async def recorded(account_id: UUID, *args: Any, **more: Any) -> Any:
            clock, started = self.clock, time.monotonic_ns()
            try:
                answer = await method(account_id, *args, **more)
            except Refusal as refusal:
                ended = time.monotonic_ns()
                told = Told(name, account_id, args, more, clock, started, ended, refusal)
                self.calls.append(told)
                raise
            ended = time.monotonic_ns()
            self.calls.append(Told(name, account_id, args, more, clock, started, ended, answer))
            return answer

        return recorded


def check(calls: Iterable[Told], accounts: Iterable[Account]) -> list[str]:
    """Replay what was told of each account, as it was opened; return what is wrong."""
    told: dict[UUID, list[Told]] = {}
    for call in calls:
        told.setdefault(call.account_id, []).append(call)
    return [
        wrong
        for account in accounts
        for wrong in _Replay(account, told.get(account.id, [])).wrongs()
    ]


@dataclass
class _Refused:
    """A refusal, the versions at which it may have been decided, and where it was tried."""

    call: Told
    earliest: int
    latest: int
    tried: set[tuple[int, int, int]]


_Placed = tuple[Told, int, int]


class _Replay:
    """One account's history."""

    def __init__(self, account: Account, calls: Sequence[Told]) -> None:
        self._account = account
        placed = [(call, *versions) for call in calls if (versions := call.versions) is not None]
        # At one version, the call that made it comes first, and those that only saw it after.
        self._in_time = sorted(
            _together(placed), key=lambda one: (one[2], one[1] == one[2], one[0].started)
        )
        # Of those, the ones that left a key, though no version, before the replays of it.
        self._order = sorted(
            self._in_time, key=lambda one: (one[2], one[1] == one[2], _is_replay(one[0]))
        )
        refused = [c for c in calls if c.versions is None and not _was_kept_out(c)]
        self._refused = sorted(self._windows(refused), key=lambda one: -one.earliest)
        self._waiting: list[_Refused] = []
        self._wrongs: list[str] = []
        self._things: dict[UUID, Grant | Reservation] = {}

    def _windows(self, refused: Sequence[Told]) -> Iterator[_Refused]:
        """Say between which versions each refusal was decided, by what else was told when."""
        by_end = sorted((call.ended, after) for call, _, after in self._in_time)
        earliest: dict[int, int] = {}
        at, newest = 0, self._account.version
        for call in sorted(refused, key=lambda one: one.started):
            while at < len(by_end) and by_end[at][0] < call.started:
                newest = max(newest, by_end[at][1])
                at += 1
            earliest[id(call)] = newest
        by_start = sorted(((call.started, v) for call, v, _ in self._in_time), reverse=True)
        at, oldest = 0, max((after for *_, after in self._in_time), default=self._account.version)
        for call in sorted(refused, key=lambda one: -one.ended):
            while at < len(by_start) and by_start[at][0] > call.ended:
                oldest = min(oldest, by_start[at][1])
                at += 1
            yield _Refused(call, earliest[id(call)], oldest, set())

    def wrongs(self) -> list[str]:
        """Return what is wrong; nothing can be said of what comes after an answer that is."""
        self._wrongs += self._out_of_time()
        for call, before, _ in self._order:
            self._explain()
            if before != self._account.version:
                at = self._account.version
                self._wrongs.append(f"version {at} is not what it was decided at: {call.shown()}")
                return self._wrongs
            try:
                self._replay(call)
            except Mismatch as mismatch:
                self._wrongs.append(f"{mismatch}: {call.shown()}")
                return self._wrongs
            self._learn()
        self._explain()
        for one in [*self._waiting, *self._refused]:
            self._wrongs.append(_fits_nowhere(one))
        return self._wrongs

    def _out_of_time(self) -> Iterator[str]:
        """Nobody is told what was before an answer that had been given when they asked."""
        latest: Told | None = None
        for call, *_ in self._in_time:
            if latest is not None and call.ended < latest.started:
                yield f"told of before, but asked after: {latest.shown()}; {call.shown()}"
            if latest is None or call.started > latest.started:
                latest = call

    def _replay(self, call: Told) -> None:
        """Ask the model the same. Between those that ride together others may be refused."""
        step = self._step(call)
        if call.name in {f"{name}_set" for name in RIDES}:
            step = replace(step, args=(_Watched(step.args[0], self._explain),))
        same(step.on_model(self._account, call.clock), call.answer)

    def _explain(self) -> None:
        """Drop the refusals that the account as it stands explains, and those it never will."""
        version = self._account.version
        while self._refused and self._refused[-1].earliest <= version:
            self._waiting.append(self._refused.pop())
        left = []
        for one in self._waiting:
            if version > one.latest:
                self._wrongs.append(_fits_nowhere(one))
            elif not self._explains(one):
                left.append(one)
        self._waiting = left

    def _explains(self, one: _Refused) -> bool:
        """Whether the model refuses so too; what it does instead is undone."""
        # What a set made is known by its ids only when all of the set was replayed.
        moment = (self._account.version, len(self._account.keys), len(self._things))
        if moment in one.tried:
            return False
        one.tried.add(moment)
        step = self._step(one.call)
        marked = mark(self._account, *_named(step))
        try:
            same(step.on_model(self._account, one.call.clock), one.call.answer)
        except Mismatch:
            return False
        finally:
            restore(self._account, marked)
        return True

    def _step(self, call: Told) -> Step:
        """Return a call with the model's own things in it."""
        more = {_THINGS.get(name, name): self._thing(value) for name, value in call.more.items()}
        return Step(call.name, tuple(self._thing(arg) for arg in call.args), more)

    def _thing(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return self._things.get(value, value)
        if isinstance(value, list):
            return [self._thing(each) for each in value]
        if hasattr(value, "_replace") and hasattr(value, "reservation_id"):
            return value._replace(reservation_id=self._thing(value.reservation_id))
        return value

    def _learn(self) -> None:
        """Remember the ids that the last answers told, newest first."""
        kinds: list[Sequence[Grant | Reservation]]
        kinds = [self._account.reservations, self._account.grants]
        for things in kinds:
            for thing in reversed(things):
                if thing.id is not None:
                    if thing.id in self._things:
                        break
                    self._things[thing.id] = thing


class _Watched(list[Any]):
    """Requests of a set; who decides one is told of before the next."""

    def __init__(self, requests: Iterable[Any], between: Callable[[], None]) -> None:
        super().__init__(requests)
        self._between = between

    def __iter__(self) -> Iterator[Any]:
        for request in super().__iter__():
            self._between()
            yield request


def _together(placed: Sequence[_Placed]) -> Iterator[_Placed]:
    """Make one call of single requests that rode in one set: they share its versions."""
    rides: dict[tuple[str, int, int], list[Told]] = {}
    for call, before, after in placed:
        if call.name in RIDES and before < after:
            rides.setdefault((call.name, before, after), []).append(call)
        elif call.name in RIDES:
            # That changed nothing: as if it had been asked alone.
            yield replace(call, answer=replace(call.answer, ordinal=1)), before, after
        else:
            yield call, before, after
    for (name, before, after), calls in rides.items():
        calls.sort(key=lambda call: call.answer.ordinal)
        rows = [replace(c.answer, ordinal=n, balance=None) for n, c in enumerate(calls, 1)]
        rows[-1] = replace(rows[-1], balance=calls[-1].answer.balance)
        asked = [call.args[0] for call in calls]
        ride = replace(
            calls[0],
            name=f"{name}_set",
            args=(asked,),
            # It was decided when all of them were under way.
            started=max(call.started for call in calls),
            ended=min(call.ended for call in calls),
            answer=rows,
        )
        yield ride, before, after


def _fits_nowhere(one: _Refused) -> str:
    told = f"{one.call.answer.code} {dict(one.call.answer.facts)}"
    return f"fits no version from {one.earliest} to {one.latest}: {told}: {one.call.shown()}"


def _is_replay(call: Told) -> bool:
    return getattr(call.answer, "replayed", False) is True


def _was_kept_out(call: Told) -> bool:
    """Whether it did not come to be decided: the account was locked for too long."""
    return call.answer.code == "BUSY" and call.ended - call.started >= LOCK_NANOSECONDS


def _named(step: Step) -> list[Grant | Reservation]:
    """Return what a step names."""
    args = [*step.args, *step.more.values()]
    requests = [one for arg in args for one in (arg if isinstance(arg, list) else [arg])]
    things = [getattr(one, "reservation_id", one) for one in requests]
    return [thing for thing in things if isinstance(thing, Grant | Reservation)]
