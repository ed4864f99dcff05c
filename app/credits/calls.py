"""What all calls of the credits domain share: counting, telling the feed, refusing."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.core.telemetry import CREDIT_OPERATIONS
from app.credits.rows import (
    Adjusted,
    AllowanceSet,
    Balance,
    Deducted,
    Extended,
    Forgiven,
    Granted,
    LimitsSet,
    Refunded,
    Released,
    Reserved,
    Settled,
    TermsSet,
    Voided,
)

Answered = Reserved | Extended | Settled | Released
Moved = (
    Deducted
    | Granted
    | Voided
    | Refunded
    | Adjusted
    | Forgiven
    | AllowanceSet
    | LimitsSet
    | TermsSet
)

# As long as one waits for a connection of the pool.
WAITING_SECONDS = 5.0

_A = TypeVar("_A", Reserved, Extended, Settled, Released)
_B = TypeVar("_B", bound=Answered)
_M = TypeVar("_M", bound=Moved)
_R = TypeVar("_R")
_G = TypeVar("_G", Reserved, Extended, Settled, Released, Deducted)


class Listener(Protocol):
    """Who wants to know what a call changed, at once and without being waited for."""

    def moved(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        """Take the account's newest balance and the reservations that changed."""


@dataclass(slots=True)
class _Turn:
    """How many calls of an account are asked for, and which may be under way."""

    asked: int = 0
    calls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


class Calls:
    """Calls SQL functions, counts what came of it, and hands the row to the feed.

    The row is the event: nothing is read again.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener | None = None,
        *,
        kept_connections: int = 0,
    ) -> None:
        """Keep connections for calls that wait for no lock."""
        self._database = database
        self._listener = listener
        # A call of one account may wait for its lock. However many are locked, such calls never
        # take all connections: a fifth is left for reads, and what is to be kept besides.
        self._calls = asyncio.Semaphore(max(1, database.limit * 4 // 5 - kept_connections))
        self._turns: dict[UUID, _Turn] = {}

    async def _decide(
        self, operation: str, row: type[_A], function: str, **arguments: Any
    ) -> list[_A]:
        """Call a function of sets: one answer for each request, each with its outcome."""
        rows = await self._call(operation, row, function, **arguments)
        _count_all(operation, rows)
        last = rows[-1]
        if last.balance is not None:
            changed = [answer for answer in rows if answer.outcome == "OK" and not answer.replayed]
            self._tell(rows[0].version_before, last.balance, changed)
        return rows

    async def _decide_many(
        self,
        operation: str,
        row: type[_A],
        function: str,
        /,
        *,
        p_account_ids: Sequence[UUID],
        p_requests: Sequence[Any],
    ) -> list[_A | None]:
        """Call a function of many accounts: an answer for each request that was plain.

        The answers of one account all carry its balance after the last of them. A request whose
        account somebody holds has one that says BUSY and nothing else.
        """
        rows = await self._call(
            operation, row, function, p_account_ids=p_account_ids, p_requests=p_requests
        )
        answers: list[_A | None] = [None] * len(p_requests)
        of_account: dict[int, list[_A]] = {}
        for answer in rows:
            answers[answer.ordinal - 1] = answer
            if not is_held(answer):
                of_account.setdefault(p_account_ids[answer.ordinal - 1].int, []).append(answer)
        # Who is held is not decided yet: it is asked again.
        _count_all(operation, itertools.chain(*of_account.values()))
        for decided in of_account.values():
            last = decided[-1]
            if last.balance is not None:
                self._tell(last.version_before, last.balance, decided)
            if len(decided) > 1:
                for answer in with_balance(decided):
                    answers[answer.ordinal - 1] = answer
        return answers

    async def _move(
        self, operation: str, row: type[_M], function: str, *, p_account_id: UUID, **arguments: Any
    ) -> _M:
        """Call a function of one request; it answers a row, or refuses."""
        async with self._in_turn(operation, p_account_id):
            rows = await self._call(
                operation, row, function, p_account_id=p_account_id, **arguments
            )
        if not rows:
            # More is due on the account than one call may work. That much is done; nothing
            # was decided.
            _count(operation, "BUSY")
            raise Refusal("BUSY")
        [answer] = rows
        _count(operation, _outcome(answer))
        self._tell(answer.version_before, answer.balance)
        return answer

    @asynccontextmanager
    async def _in_turn(self, operation: str, account_id: UUID) -> AsyncIterator[None]:
        """Be one of the calls that may wait for a lock; BUSY if there are too many for long.

        A busy account has two: one that works and one that waits for its lock. More of them
        would keep connections from other accounts and be done no sooner.
        """
        turn = self._turns.setdefault(account_id, _Turn())
        turn.asked += 1
        limit = asyncio.timeout(WAITING_SECONDS)
        try:
            async with limit, turn.calls, self._calls:
                limit.reschedule(None)
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            _count(operation, "BUSY")
            raise Refusal("BUSY") from None
        finally:
            turn.asked -= 1
            if not turn.asked:
                del self._turns[account_id]

    async def _call(
        self, operation: str, row: type[_R], function: str, **arguments: Any
    ) -> list[_R]:
        try:
            return await self._database.call(row, function, **arguments)
        except Refusal as refusal:
            _count(operation, refusal.code)
            raise

    def _tell(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered] = ()
    ) -> None:
        if self._listener is not None and balance.balance_version > version_before:
            self._listener.moved(version_before, balance, reservations)


def _count_all(operation: str, rows: Iterable[Answered]) -> None:
    for outcome, number in Counter(map(_outcome, rows)).items():
        _count(operation, outcome, number)


def _count(operation: str, outcome: str, number: int = 1) -> None:
    CREDIT_OPERATIONS.labels(operation, outcome.lower()).inc(number)


def _outcome(row: Answered | Moved) -> str:
    outcome = getattr(row, "outcome", "OK")
    if outcome == "OK" and row.replayed:
        return "REPLAYED"
    return str(outcome)


def is_held(answer: Answered) -> bool:
    """Whether an answer of many says that somebody holds the account: nothing was decided."""
    return answer.outcome == "BUSY"


def is_short(answer: Answered) -> bool:
    """Whether an answer says that the account has not the credits for it."""
    return answer.outcome == "INSUFFICIENT_CREDITS"


def with_balance(rows: Sequence[_B]) -> list[_B]:
    """Give every answer of an account the balance, which the last of them carries."""
    *others, last = rows
    return [*(replace(row, balance=last.balance) for row in others), last]


def granted(row: _G) -> _G:
    """Return an answer that is a yes; raise the one that is a no."""
    if row.outcome != "OK":
        raise Refusal(row.outcome, row.facts)
    return row
