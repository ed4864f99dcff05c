"""Live feeds of the credits domain.

The first message is a snapshot, each carries the account's version, versions only rise.
A client that reconnects subscribes again and gets a new snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.core.database import Unavailable
from app.core.telemetry import log
from app.credits.feed import Watch
from app.credits.reads import PAGE_LIMIT, CreditReads
from app.identity.rights import Operation
from schema.credits.enums import ReservationStatus
from schema.credits.types import CreditBalance, CreditTransaction, OrganizationId, ReservationState
from schema.groups import Keeps, Topic, group_context_of
from schema.inputs import read_id
from schema.scalars import Credits

_PENDING_SHOWN = 100
_OPEN_KEPT = 1_000
# Five minutes: then it is ended, and its client may come again.
_RETRIES = 300
_RETRY_SECONDS = 1.0

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _Watched:
    account_id: UUID
    pushes: Watch
    reads: CreditReads


@asynccontextmanager
async def _watching(
    info: Info[Any, Any], organization_id: strawberry.ID
) -> AsyncIterator[_Watched]:
    context = group_context_of(info)
    context.require(Operation.READ_CREDITS)
    account_id = read_id(organization_id, "organizationId")
    await context.authorize(Operation.READ_CREDITS, account_id)
    context.admit()
    async with context.services.feed.watch(account_id) as pushes:
        yield _Watched(account_id, pushes, context.services.credit_reads)


@strawberry.type
class CreditSubscriptions:
    """What can be watched."""

    @strawberry.subscription(
        description="The balance now, and again whenever it changes: always the newest,"
        " at most ten times a second.",
        metadata={"topic": Topic("balance", Keeps.NEWEST)},
    )
    async def credit_balance_updated(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[CreditBalance]:
        async with _watching(info, organization_id) as watched:
            async for push in watched.pushes:
                yield CreditBalance.of(push.balance)

    @strawberry.subscription(
        description="Every ledger row from now on, in order; read from the ledger itself, so that a"
        " lost push loses no row. Who takes them too slowly is told which are missing"
        " (EVENTS_MISSED).",
        metadata={"topic": Topic("transactions", Keeps.ALL)},
    )
    async def credit_transaction_added(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[CreditTransaction]:
        async with _watching(info, organization_id) as watched:
            seen = (await anext(watched.pushes)).balance.balance_version
            async for push in watched.pushes:
                newest = push.balance.balance_version
                while seen < newest:
                    rows = await _patiently(
                        partial(watched.reads.transactions_since, watched.account_id, seen)
                    )
                    for row in rows:
                        # It may be newer than what was pushed: then it is not sent again.
                        seen = row.version
                        yield CreditTransaction.of(row)
                    if len(rows) < PAGE_LIMIT:
                        seen = max(seen, newest)

    @strawberry.subscription(
        description="The open reservations now, at most 100, and each reservation again"
        " whenever it changes.",
        metadata={"topic": Topic("reservations", Keeps.OWN)},
    )
    async def reservation_updated(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[ReservationState]:
        shown: dict[str, ReservationState] = {}
        looked_up: dict[str, ReservationState] = {}
        async with _watching(info, organization_id) as watched:
            async for push in watched.pushes:
                changes = [ReservationState.of_change(change) for change in push.changes]
                if not push.complete:
                    changes = await _patiently(partial(_look_up, watched, shown, changes))
                for change in changes:
                    # Postgres may have told a moment before what is pushed now.
                    if change in (shown.get(change.id), looked_up.get(change.id)):
                        continue
                    shown.pop(change.id, None)
                    if change.status is ReservationStatus.PENDING:
                        shown[change.id] = change
                    yield change
                if not push.complete:
                    looked_up = {change.id: change for change in changes}
                while len(shown) > _OPEN_KEPT:
                    del shown[next(iter(shown))]


async def _patiently(read: Callable[[], Awaitable[Read]]) -> Read:
    """Read, once Postgres can be asked: an outage ends no subscription."""
    for _ in range(_RETRIES):
        try:
            return await read()
        except Unavailable as error:
            log.warning("subscription.waits", error=str(error))
        await asyncio.sleep(_RETRY_SECONDS)
    return await read()


async def _look_up(
    watched: _Watched, shown: dict[str, ReservationState], changes: list[ReservationState]
) -> list[ReservationState]:
    """Return what is open, and what became of those that were shown as open or changed."""
    pending = await watched.reads.reservations(
        watched.account_id, ["pending"], limit=_PENDING_SHOWN
    )
    open_ids = {str(row.id) for row in pending}
    others = await watched.reads.reservations_by_id(
        watched.account_id,
        [UUID(id_) for id_ in {*shown, *(change.id for change in changes)} - open_ids],
    )
    return [
        ReservationState(
            id=strawberry.ID(str(row.id)),
            status=ReservationStatus(row.status),
            amount=Credits(row.amount),
            settled_amount=None if row.settled_amount is None else Credits(row.settled_amount),
            expires_at=row.expires_at if row.status == "pending" else None,
        )
        for row in [*others, *reversed(pending)]
    ]
