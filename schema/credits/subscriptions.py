"""Live feeds of the credits domain.

The first message is a snapshot, each carries the account's version, versions only rise.
A client that reconnects subscribes again and gets a new snapshot.
"""

import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.credits.feed import Push
from app.identity.rights import Operation
from schema.context import Context, context_of
from schema.credits.types import (
    CreditBalance,
    CreditTransaction,
    OrganizationId,
    ReservationState,
    ReservationStatus,
)
from schema.inputs import read_id
from schema.scalars import Credits

_PENDING_SHOWN = 100


async def _watchable(info: Info[Any, Any], organization_id: strawberry.ID) -> tuple[Context, UUID]:
    context = context_of(info)
    context.require(Operation.READ_CREDITS)
    account_id = read_id(organization_id, "organizationId")
    await context.authorize(Operation.READ_CREDITS, account_id)
    return context, account_id


async def _watch(context: Context, account_id: UUID, topic: str) -> AsyncIterator[Push]:
    """Yield pushes for as long as the viewer may see them: keys outlive rights."""
    checked = time.monotonic()
    async with context.services.feed.watch(account_id, topic) as pushes:
        async for push in pushes:
            now = time.monotonic()
            if now - checked >= context.services.rights_recheck_seconds:
                checked = now
                await context.renew()
                await context.authorize(Operation.READ_CREDITS, account_id)
            yield push


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
        context, account_id = await _watchable(info, organization_id)
        async for push in _watch(context, account_id, "balance"):
            yield CreditBalance.of(push.balance)

    @strawberry.subscription(
        description="Every ledger row from now on, in order, none left out; read from the"
        " ledger itself, so that a lost push loses no row."
    )
    async def credit_transaction_added(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[CreditTransaction]:
        context, account_id = await _watchable(info, organization_id)
        reads = context.services.credit_reads
        seen: int | None = None
        async for push in _watch(context, account_id, "transactions"):
            if seen is None:
                seen = push.balance.balance_version
                continue
            while seen < push.balance.balance_version:
                rows = await reads.transactions_since(account_id, seen)
                for row in rows:
                    yield CreditTransaction.of(row)
                if not rows or rows[-1].version >= push.balance.balance_version:
                    break
                seen = rows[-1].version
            seen = max(seen, push.balance.balance_version)

    @strawberry.subscription(
        description="The open reservations now, at most 100, and each reservation again"
        " whenever it changes."
    )
    async def reservation_updated(
        self, info: Info[Any, Any], organization_id: OrganizationId
    ) -> AsyncIterator[ReservationState]:
        context, account_id = await _watchable(info, organization_id)
        shown: dict[str, ReservationState] = {}
        first = True
        async for push in _watch(context, account_id, "reservations"):
            changes = [ReservationState.of_change(change) for change in push.reservations]
            if first or not push.complete:
                changes = await _look_up(context, account_id, shown, changes)
                first = False
            for change in changes:
                if shown.get(change.id) == change:
                    continue
                if change.status is ReservationStatus.PENDING:
                    shown[change.id] = change
                else:
                    shown.pop(change.id, None)
                yield change


async def _look_up(
    context: Context,
    account_id: UUID,
    shown: dict[str, ReservationState],
    changes: list[ReservationState],
) -> list[ReservationState]:
    """Return what is open, and how those ended that were shown as open or just changed."""
    reads = context.services.credit_reads
    pending = await reads.reservations(account_id, ["pending"], limit=_PENDING_SHOWN)
    open_ids = {str(row.id) for row in pending}
    ended = await reads.reservations_by_id(
        account_id,
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
        for row in [*ended, *reversed(pending)]
    ]
