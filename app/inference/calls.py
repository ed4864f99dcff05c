"""`ModelCalls`: one method for each SQL function of the inference domain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.core.telemetry import CREDIT_OPERATIONS
from app.credits import Balance
from app.credits.batches import Batches, SendMany
from app.credits.calls import Answered, Listener
from app.credits.lines import Lane
from app.credits.rows import Reserved
from app.inference.rows import (
    Access,
    Charge,
    CloseRequest,
    DueCall,
    Extended,
    ExtendRequest,
    FeatureLimits,
    FellBack,
    GiveBackRequest,
    Noted,
    OpenedCall,
    OpenRequest,
    Released,
    Settled,
)

_Q = TypeVar("_Q")
_A = TypeVar("_A", OpenedCall, Extended, Settled, Released)
_Many = TypeVar("_Many", OpenedCall, Settled)


class ModelCalls:
    """Calls of models as Postgres decides them: open, extend, close, give back.

    Requests ride together while a call is on its way, those of one account and those of several:
    see `Batches`.
    """

    def __init__(self, database: Database, listener: Listener | None = None) -> None:
        self._database = database
        self._listener = listener
        # Two operations have a shared lane, which waits for no lock. A small pool has none. With
        # one lane sets are larger than with two: measured, a fifth more calls in all.
        shared_lanes = min(1, database.limit // 7)
        # Each of the others may wait for its account's lock: two fifths of the pool are left for
        # what does not.
        calls = self._calls = asyncio.Semaphore(max(1, database.limit * 3 // 5))
        self._opening = _Together(
            _each_with_balance(self.open_set),
            self.open_many,
            calls=calls,
            shared_lanes=shared_lanes,
            is_held=_is_held,
            is_short=_is_short,
        )
        self._extending = Batches(_each_with_balance(self.extend_set), calls=calls)
        self._closing = _Together(
            _each_with_balance(self.close_set),
            self.close_many,
            calls=calls,
            shared_lanes=shared_lanes,
            is_held=_is_held,
        )
        self._giving_back = Batches(_each_with_balance(self.give_back_set), calls=calls)

    # Sets for one account, decided in turn, one answer each.

    async def open_set(self, account_id: UUID, requests: Sequence[OpenRequest]) -> list[OpenedCall]:
        """Check and reserve; each answer has its own outcome."""
        rows = await self._database.call(
            OpenedCall, "inference.open", p_account_id=account_id, p_requests=requests
        )
        self._told("open", rows, _reserved)
        return rows

    async def extend_set(
        self, account_id: UUID, requests: Sequence[ExtendRequest]
    ) -> list[Extended]:
        """Reserve more for streams; each answer has its own outcome."""
        rows = await self._database.call(
            Extended, "inference.extend", p_account_id=account_id, p_requests=requests
        )
        self._told("extend", rows, _as_it_is)
        return rows

    async def close_set(self, account_id: UUID, requests: Sequence[CloseRequest]) -> list[Settled]:
        """Charge what was used; each answer has its own outcome."""
        rows = await self._database.call(
            Settled, "inference.close", p_account_id=account_id, p_requests=requests
        )
        self._told("close", rows, _as_it_is)
        return rows

    async def give_back_set(
        self, account_id: UUID, requests: Sequence[GiveBackRequest]
    ) -> list[Released]:
        """Charge nothing; each answer has its own outcome."""
        rows = await self._database.call(
            Released, "inference.give_back", p_account_id=account_id, p_requests=requests
        )
        self._told("give_back", rows, _as_it_is)
        return rows

    # The same for many accounts: request i is of account i. None is the answer for accounts of
    # which something needs a second look, and BUSY that for those somebody holds.

    async def open_many(
        self, account_ids: Sequence[UUID], requests: Sequence[OpenRequest]
    ) -> list[OpenedCall | None]:
        """Check and reserve on accounts where all of it is plain."""
        rows = await self._database.call(
            OpenedCall, "inference.open_many", p_account_ids=account_ids, p_requests=requests
        )
        return self._told_many("open", account_ids, rows, _reserved)

    async def close_many(
        self, account_ids: Sequence[UUID], requests: Sequence[CloseRequest]
    ) -> list[Settled | None]:
        """Charge what was used on accounts where all of it is plain."""
        rows = await self._database.call(
            Settled, "inference.close_many", p_account_ids=account_ids, p_requests=requests
        )
        return self._told_many("close", account_ids, rows, _as_it_is)

    # Single requests.

    async def open(self, account_id: UUID, request: OpenRequest) -> OpenedCall:
        """Let a call begin, or refuse."""
        return _granted(await self._opening.ask(account_id, request))

    async def extend(self, account_id: UUID, request: ExtendRequest) -> Extended:
        """Reserve more for a stream, or refuse."""
        return _granted(await self._extending.ask(account_id, request))

    async def close(self, account_id: UUID, request: CloseRequest) -> Settled:
        """Charge what was used, or refuse."""
        return _granted(await self._closing.ask(account_id, request))

    async def give_back(self, account_id: UUID, request: GiveBackRequest) -> Released:
        """Charge nothing, or refuse."""
        return _granted(await self._giving_back.ask(account_id, request))

    async def fall_back(
        self,
        account_id: UUID,
        call_id: UUID,
        *,
        attempt: int,
        model: str,
        error: str,
        status_code: int | None = None,
    ) -> FellBack:
        """Note an attempt that failed and take another model, or refuse."""
        async with self._calls:
            row = await self._database.call_one(
                FellBack,
                "inference.fall_back",
                p_account_id=account_id,
                p_call_id=call_id,
                p_attempt=attempt,
                p_model=model,
                p_error=error,
                p_status_code=status_code,
            )
        if row.outcome != "OK":
            raise Refusal(row.outcome, row.facts)
        if row.balance is not None:
            self._tell(row.version_before, row.balance, [])
        return row

    async def note_answer(self, account_id: UUID, request: CloseRequest) -> Noted:
        """Keep what was used, for whoever charges it later."""
        return await self._database.call_one(
            Noted, "inference.note_answer", p_account_id=account_id, p_request=request
        )

    # Reads.

    async def find_abandoned(
        self, limit: int, after: datetime | None = None, after_call: UUID | None = None
    ) -> list[DueCall]:
        """Return calls that no process is at work on any more, those of longest ago first."""
        return await self._database.call(
            DueCall,
            "inference.find_abandoned",
            p_limit=limit,
            p_after=after,
            p_after_call=after_call,
        )

    async def check_access(
        self,
        organization_id: UUID,
        feature: str,
        quality: str | None = None,
        model: str | None = None,
        *,
        end_customer_ref: str | None = None,
        related_id: str | None = None,
    ) -> Access:
        """Return whether a call may be made, and what would help."""
        return await self._database.call_one(
            Access,
            "inference.check_access",
            p_organization_id=organization_id,
            p_feature=feature,
            p_quality=quality,
            p_model=model,
            p_end_customer_ref=end_customer_ref,
            p_related_id=related_id,
        )

    async def read_limits(
        self,
        organization_id: UUID,
        *,
        end_customer_ref: str | None = None,
        related_id: str | None = None,
    ) -> list[FeatureLimits]:
        """Return the limits of the AI features that an organization's plan opens, by feature."""
        return await self._database.call(
            FeatureLimits,
            "inference.read_limits",
            p_organization_id=organization_id,
            p_end_customer_ref=end_customer_ref,
            p_related_id=related_id,
        )

    async def read_charge(self, account_id: UUID, call_id: UUID) -> Charge:
        """Return why a call cost what it did, or refuse where there is none."""
        return await self._database.call_one(
            Charge, "inference.read_charge", p_account_id=account_id, p_call_id=call_id
        )

    def _told(self, operation: str, rows: Sequence[_A], shown: Callable[[_A], Answered]) -> None:
        """Count what came of a set, and tell the feed."""
        for row in rows:
            outcome = "replayed" if row.replayed else row.outcome.lower()
            CREDIT_OPERATIONS.labels(operation, outcome).inc()
        if (balance := rows[-1].balance) is not None:
            changed = [shown(row) for row in rows if row.outcome == "OK" and not row.replayed]
            self._tell(rows[0].version_before, balance, changed)

    def _told_many(
        self,
        operation: str,
        account_ids: Sequence[UUID],
        rows: Sequence[_Many],
        shown: Callable[[_Many], Answered],
    ) -> list[_Many | None]:
        """Do so for each account that was decided; return the answers by their places."""
        answers: list[_Many | None] = [None] * len(account_ids)
        decided: dict[UUID, list[_Many]] = {}
        for row in rows:
            if _is_held(row):
                answers[row.ordinal - 1] = row
            else:
                decided.setdefault(account_ids[row.ordinal - 1], []).append(row)
        for of_account in decided.values():
            self._told(operation, of_account, shown)
            for row in _with_balance(of_account):
                answers[row.ordinal - 1] = row
        return answers

    def _tell(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        if self._listener is not None and balance.balance_version > version_before:
            self._listener.moved(version_before, balance, reservations)


class _Together(Batches[_Q, _A]):
    """Where each call is dear none goes alone for being among few: who comes next has company.

    For one request the functions of many accounts cost what those of one do.
    """

    def _start(self, lane: Lane[_Q, _A], send: SendMany[_Q, _A]) -> None:
        lane.is_starting = False
        lane.task = asyncio.create_task(
            self._run_shared(lane, send), name="calls of many accounts", context=Context()
        )
        lane.task.add_done_callback(lambda task: self._leave(lane, task))


def _each_with_balance(
    send: Callable[[UUID, Sequence[_Q]], Awaitable[list[_A]]],
) -> Callable[[UUID, Sequence[_Q]], Awaitable[list[_A]]]:
    async def sent(account_id: UUID, requests: Sequence[_Q]) -> list[_A]:
        return _with_balance(await send(account_id, requests))

    return sent


def _with_balance(rows: Sequence[_A]) -> list[_A]:
    """Give every answer of an account the balance, which the last of them carries."""
    if len(rows) == 1:
        return list(rows)
    balance = rows[-1].balance
    return [replace(row, balance=balance) for row in rows]


def _is_held(row: OpenedCall | Settled) -> bool:
    return row.outcome == "BUSY"


def _is_short(row: OpenedCall) -> bool:
    return row.outcome == "INSUFFICIENT_CREDITS"


def _granted(row: _A) -> _A:
    if row.outcome != "OK":
        raise Refusal(row.outcome, row.facts)
    return row


def _as_it_is(row: Answered) -> Answered:
    return row


def _reserved(row: OpenedCall) -> Reserved:
    """Return what a call that began did to its account."""
    return Reserved(
        row.ordinal,
        row.outcome,
        row.facts,
        row.replayed,
        row.reservation_id,
        row.status,
        row.amount,
        row.expires_at,
        row.version,
        row.version_before,
        row.balance,
    )
