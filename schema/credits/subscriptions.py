"""Live feeds of the credits domain.

The first message is a snapshot, each carries the account's version, versions only rise.
A client that reconnects subscribes again and gets a new snapshot.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.credits.feed import Push, Watch
from app.credits.reads import PAGE_LIMIT
from app.identity.rights import Operation
from schema.context import Context, context_of
from schema.credits.enums import ReservationStatus
from schema.credits.types import CreditBalance, CreditTransaction, OrganizationId, ReservationState
from schema.inputs import read_id
from schema.scalars import Credits

_PENDING_SHOWN = 100
_OPEN_KEPT = 1_000


class _Pushes:
    """What a viewer sees of an account, for as long as the viewer may: rights can end."""

    def __init__(self, context: Context, account_id: UUID, watch: Watch) -> None:
        self.reads = context.services.credit_reads
        self.account_id = account_id
        self._context = context
        self._watch = watch
        self._seconds = context.services.rights_recheck_seconds
        self._due = time.monotonic() + self._seconds

    def __aiter__(self) -> "_Pushes":
        return self

    async def __anext__(self) -> Push:
        push = None
        while push is None:
            push = await self._watch.next(self._due - time.monotonic())
            await self.check()
        return push

    async def check(self) -> None:
        """Refuse a viewer who may no longer see this, once it is time to ask again."""
        if time.monotonic() < self._due:
            return
        await self._context.renew()
        await self._context.authorize(Operation.READ_CREDITS, self.account_id)
        self._due = time.monotonic() + self._seconds


@asynccontextmanager
async def _watching(
    info: Info[Any, Any], organization_id: strawberry.ID, topic: str
) -> AsyncIterator[_Pushes]:
    context = context_of(info)
    context.require(Operation.READ_CREDITS)
    account_id = read_id(organization_id, "organizationId")
    await context.authorize(Operation.READ_CREDITS, account_id)
    async with context.services.feed.watch(account_id, topic) as watch:
        yield _Pushes(context, account_id, watch)


@strawberry.type
class CreditSubscriptions:
    """What can be watched."""

    @strawberry.subscription(
        description="The balance now, and again whenever it changes: always the newest,"
        " at most ten times a second."
    )
    async def credit_balance_updated(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[CreditBalance]:
        async with _watching(info, organization_id, "balance") as pushes:
            async for push in pushes:
                yield CreditBalance.of(push.balance)

    @strawberry.subscription(
        description="Every ledger row from now on, in order, none left out; read from the"
        " ledger itself, so that a lost push loses no row."
    )
    async def credit_transaction_added(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[CreditTransaction]:
        async with _watching(info, organization_id, "transactions") as pushes:
            seen = (await anext(pushes)).balance.balance_version
            async for push in pushes:
                newest = push.balance.balance_version
                while seen < newest:
                    rows = await pushes.reads.transactions_since(pushes.account_id, seen)
                    for row in rows:
                        # It may be newer than what was pushed: then it is not sent again.
                        seen = row.version
                        yield CreditTransaction.of(row)
                    if len(rows) < PAGE_LIMIT:
                        seen = max(seen, newest)
                    await pushes.check()

    @strawberry.subscription(
        description="The open reservations now, at most 100, and each reservation again"
        " whenever it changes."
    )
    async def reservation_updated(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[ReservationState]:
        shown: dict[str, ReservationState] = {}
        looked_up: dict[str, ReservationState] = {}
        async with _watching(info, organization_id, "reservations") as pushes:
            async for push in pushes:
                changes = [ReservationState.of_change(change) for change in push.changes]
                if not push.complete:
                    changes = await _look_up(pushes, shown, changes)
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


async def _look_up(
    pushes: _Pushes, shown: dict[str, ReservationState], changes: list[ReservationState]
) -> list[ReservationState]:
    """Return what is open, and what became of those that were shown as open or changed."""
    pending = await pushes.reads.reservations(pushes.account_id, ["pending"], limit=_PENDING_SHOWN)
    open_ids = {str(row.id) for row in pending}
    others = await pushes.reads.reservations_by_id(
        pushes.account_id,
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
