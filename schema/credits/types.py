"""Types of the credits domain."""

from datetime import datetime
from typing import Annotated, cast

import strawberry
from strawberry.scalars import JSON

from app.credits import reads, rows
from app.credits.feed import ReservationChange
from schema.credits.enums import (
    GrantCategory,
    GrantSource,
    GrantState,
    ReservationStatus,
    TransactionType,
)
from schema.scalars import Credits, Version

_UNLIMITED = -1
_BASIS_POINTS = 100


@strawberry.type(description="The credits of an organization, at one version.")
class CreditBalance:
    """A balance; `app.credits.Balance` says where the figures come from."""

    organization_id: strawberry.ID = strawberry.field(description="Whose.")
    granted: Credits = strawberry.field(description="What is left of live grants.")
    available: Credits = strawberry.field(description="Granted, less what is reserved.")
    reserved: Credits = strawberry.field(description="Set aside for work under way.")
    spendable: Credits = strawberry.field(
        description="What can be reserved now: available, with the overdraft, less the debt."
    )
    overage: Credits = strawberry.field(description="What is owed. Paid first by what arrives.")
    overdraft_limit: Credits = strawberry.field(description="How much may be owed.")
    used_this_period: Credits = strawberry.field(description="Spent since the period began.")
    monthly: Credits = strawberry.field(description="What is left of the plan's grants.")
    bonus: Credits = strawberry.field(description="What is left of all other grants.")
    total: Credits = strawberry.field(description="Used this period and remaining, together.")
    remaining: Credits = strawberry.field(
        description="Available and reserved, less what is owed; never below zero."
    )
    usage_percentage: float = strawberry.field(
        description="Used this period as a share of the total, in per cent, two places."
    )
    allowance: Credits | None = strawberry.field(
        description="Granted each month; null when it is unlimited."
    )
    unlimited: bool = strawberry.field(description="Whether the allowance is unlimited.")
    period_start: datetime = strawberry.field(description="When the credit month began.")
    period_end: datetime = strawberry.field(description="When the next one begins.")
    version: Version = strawberry.field(
        description="Rises by one with each change. Of two balances the higher is the newer."
    )

    @classmethod
    def of(cls, row: rows.Balance) -> "CreditBalance":
        """Return the balance of a row."""
        unlimited = row.period_grant == _UNLIMITED
        return cls(
            organization_id=strawberry.ID(str(row.account_id)),
            granted=Credits(row.granted),
            available=Credits(row.available),
            reserved=Credits(row.reserved),
            spendable=Credits(row.spendable),
            overage=Credits(row.overage),
            overdraft_limit=Credits(row.overdraft_limit),
            used_this_period=Credits(row.used_this_period),
            monthly=Credits(row.monthly),
            bonus=Credits(row.bonus),
            total=Credits(row.total),
            remaining=Credits(row.remaining),
            usage_percentage=row.usage_basis_points / _BASIS_POINTS,
            allowance=None if unlimited else Credits(row.period_grant),
            unlimited=unlimited,
            period_start=row.period_start,
            period_end=row.period_end,
            version=Version(row.balance_version),
        )


@strawberry.type(description="Whether an amount could be reserved now. Advice: reserve decides.")
class CreditBalanceCheck:
    """An answer of `creditBalanceCheck`."""

    can_proceed: bool = strawberry.field(description="Whether a reservation would be accepted.")
    required: Credits = strawberry.field(description="The amount that was asked about.")
    shortfall: Credits = strawberry.field(description="What is missing; zero if nothing is.")
    balance: CreditBalance = strawberry.field(description="The balance it was judged by.")

    @classmethod
    def of(cls, row: rows.Checked) -> "CreditBalanceCheck":
        """Return the answer of a row."""
        return cls(
            can_proceed=row.can_proceed,
            required=Credits(row.required),
            shortfall=Credits(row.shortfall),
            balance=CreditBalance.of(row.balance),
        )


@strawberry.type(description="Who did it, as it was then.")
class ActorSnapshot:
    """The actor of a ledger row."""

    kind: str = strawberry.field(description="admin, project_key, organization_key or user.")
    id: strawberry.ID = strawberry.field(description="Its id.")
    label: str = strawberry.field(description="Its name, as it was then.")


@strawberry.type(description="What credits were for, as it was then.")
class RelatedEntity:
    """The related entity of a ledger row."""

    type: str | None = strawberry.field(description="What kind of thing.")
    id: strawberry.ID | None = strawberry.field(description="Its id in your system.")
    name: str | None = strawberry.field(description="Its name, as it was then.")


_Recorded = reads.Transaction | reads.Grant | reads.Reservation


def _actor(row: _Recorded) -> ActorSnapshot | None:
    if row.actor_kind is None:
        return None
    return ActorSnapshot(
        kind=row.actor_kind, id=strawberry.ID(row.actor_id or ""), label=row.actor_label or ""
    )


def _related(row: reads.Transaction | reads.Reservation) -> RelatedEntity | None:
    if row.related_type is None and row.related_id is None and row.related_name is None:
        return None
    return RelatedEntity(
        type=row.related_type,
        id=None if row.related_id is None else strawberry.ID(row.related_id),
        name=row.related_name,
    )


def _json(value: rows.Facts | None) -> JSON | None:
    return cast("JSON | None", value)


def _optional_id(value: object) -> strawberry.ID | None:
    return None if value is None else strawberry.ID(str(value))


def _optional_credits(value: int | None) -> Credits | None:
    return None if value is None else Credits(value)


@strawberry.type(description="How much of a grant a ledger row drew.")
class GrantDraw:
    """One grant of a draw."""

    grant_id: strawberry.ID = strawberry.field(description="The grant.")
    amount: Credits = strawberry.field(description="How much of it.")


@strawberry.type(description="One row of the ledger, which is only ever added to.")
class CreditTransaction:
    """A ledger row."""

    id: strawberry.ID = strawberry.field(description="Organization and version.")
    organization_id: strawberry.ID = strawberry.field(description="Whose.")
    version: Version = strawberry.field(description="The account's version it made.")
    type: TransactionType = strawberry.field(description="What it records.")
    operation: str = strawberry.field(description="The function that wrote it.")
    amount: Credits = strawberry.field(description="What was added, or taken when negative.")
    available_after: Credits = strawberry.field(description="Available afterwards.")
    reserved_after: Credits = strawberry.field(description="Reserved afterwards.")
    overage_after: Credits = strawberry.field(description="Owed afterwards.")
    reservation_id: strawberry.ID | None = strawberry.field(description="The one it settled.")
    grant_id: strawberry.ID | None = strawberry.field(description="The grant it is about.")
    refunded_transaction_id: strawberry.ID | None = strawberry.field(
        description="The consumption a refund gives back."
    )
    estimated: Credits | None = strawberry.field(description="What had been reserved.")
    drawn: list[GrantDraw] = strawberry.field(description="Which grants paid, in order.")
    idempotency_key: str | None = strawberry.field(description="The caller's key.")
    reason: str | None = strawberry.field(description="Why, in the caller's words.")
    feature: str | None = strawberry.field(description="The feature it was for.")
    quality: str | None = strawberry.field(description="The quality level.")
    model: str | None = strawberry.field(description="The model.")
    price_version: str | None = strawberry.field(description="The price it was charged by.")
    end_customer_ref: str | None = strawberry.field(description="Your customer's customer.")
    related: RelatedEntity | None = strawberry.field(description="What it was for.")
    actor: ActorSnapshot | None = strawberry.field(description="Who did it.")
    metadata: JSON | None = strawberry.field(description="What the caller sent along.")
    created_at: datetime = strawberry.field(description="When, by the account's clock.")

    @classmethod
    def of(cls, row: reads.Transaction) -> "CreditTransaction":
        """Return the type of a row."""
        draws = zip(row.drawn_grant_ids or (), row.drawn_amounts or (), strict=True)
        return cls(
            id=transaction_id(row.account_id, row.version),
            organization_id=strawberry.ID(str(row.account_id)),
            version=Version(row.version),
            type=TransactionType(row.type),
            operation=row.operation,
            amount=Credits(row.amount),
            available_after=Credits(row.available_after),
            reserved_after=Credits(row.reserved_after),
            overage_after=Credits(row.overage_after),
            reservation_id=_optional_id(row.reservation_id),
            grant_id=_optional_id(row.grant_id),
            refunded_transaction_id=None
            if row.refund_of is None
            else transaction_id(row.account_id, row.refund_of),
            estimated=_optional_credits(row.estimated),
            drawn=[
                GrantDraw(grant_id=strawberry.ID(str(grant)), amount=Credits(amount))
                for grant, amount in draws
            ],
            idempotency_key=row.idempotency_key,
            reason=row.reason,
            feature=row.feature,
            quality=row.quality,
            model=row.model,
            price_version=row.price_version,
            end_customer_ref=row.end_customer_ref,
            related=_related(row),
            actor=_actor(row),
            metadata=_json(row.metadata),
            created_at=row.created_at,
        )


@strawberry.type(description="Credits that were given.")
class CreditGrant:
    """A grant."""

    id: strawberry.ID = strawberry.field(description="The grant's id.")
    organization_id: strawberry.ID = strawberry.field(description="Whose.")
    source: GrantSource = strawberry.field(description="Where it comes from.")
    category: GrantCategory = strawberry.field(description="Paid for, or given.")
    priority: int = strawberry.field(description="Lower is drawn first.")
    amount: Credits = strawberry.field(description="What was given.")
    remaining: Credits = strawberry.field(description="What is left.")
    state: GrantState = strawberry.field(description="Where it stands.")
    effective_at: datetime = strawberry.field(description="When it can be spent from.")
    expires_at: datetime | None = strawberry.field(description="When it ends; null: never.")
    source_ref: str | None = strawberry.field(description="The payment or rule behind it.")
    reason: str | None = strawberry.field(description="Why, in the giver's words.")
    idempotency_key: str | None = strawberry.field(description="The caller's key.")
    actor: ActorSnapshot | None = strawberry.field(description="Who gave it.")
    metadata: JSON | None = strawberry.field(description="What the caller sent along.")
    created_at: datetime = strawberry.field(description="When it was made.")

    @classmethod
    def of(cls, row: reads.Grant) -> "CreditGrant":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            organization_id=strawberry.ID(str(row.account_id)),
            source=GrantSource(row.source),
            category=GrantCategory(row.category),
            priority=row.priority,
            amount=Credits(row.amount),
            remaining=Credits(row.remaining),
            state=GrantState(row.state),
            effective_at=row.effective_at,
            expires_at=row.expires_at,
            source_ref=row.source_ref,
            reason=row.reason,
            idempotency_key=row.idempotency_key,
            actor=_actor(row),
            metadata=_json(row.metadata),
            created_at=row.created_at,
        )


@strawberry.type(description="Credits that were set aside.")
class CreditReservation:
    """A reservation."""

    id: strawberry.ID = strawberry.field(description="The reservation's id.")
    organization_id: strawberry.ID = strawberry.field(description="Whose.")
    status: ReservationStatus = strawberry.field(description="Where it stands.")
    amount: Credits = strawberry.field(description="What is, or was, set aside.")
    settled_amount: Credits | None = strawberry.field(description="What was charged.")
    idempotency_key: str = strawberry.field(description="The caller's key.")
    opened_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime = strawberry.field(description="When it ends by itself.")
    closed_at: datetime | None = strawberry.field(description="When it ended.")
    opened_version: Version = strawberry.field(description="The account's version it made.")
    release_reason: str | None = strawberry.field(description="Why it was released.")
    feature: str | None = strawberry.field(description="The feature it is for.")
    quality: str | None = strawberry.field(description="The quality level.")
    model: str | None = strawberry.field(description="The model.")
    price_version: str | None = strawberry.field(description="The price it is charged by.")
    end_customer_ref: str | None = strawberry.field(description="Your customer's customer.")
    related: RelatedEntity | None = strawberry.field(description="What it is for.")
    actor: ActorSnapshot | None = strawberry.field(description="Who made it.")
    metadata: JSON | None = strawberry.field(description="What the caller sent along.")

    @classmethod
    def of(cls, row: reads.Reservation) -> "CreditReservation":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            organization_id=strawberry.ID(str(row.account_id)),
            status=ReservationStatus(row.status),
            amount=Credits(row.amount),
            settled_amount=_optional_credits(row.settled_amount),
            idempotency_key=row.idempotency_key,
            opened_at=row.opened_at,
            expires_at=row.expires_at,
            closed_at=row.closed_at,
            opened_version=Version(row.opened_version),
            release_reason=row.release_reason,
            feature=row.feature,
            quality=row.quality,
            model=row.model,
            price_version=row.price_version,
            end_customer_ref=row.end_customer_ref,
            related=_related(row),
            actor=_actor(row),
            metadata=_json(row.metadata),
        )


@strawberry.type(description="A reservation as it stands after a change.")
class ReservationState:
    """What a mutation answers and `reservationUpdated` pushes."""

    id: strawberry.ID = strawberry.field(description="The reservation's id.")
    status: ReservationStatus = strawberry.field(description="Where it stands.")
    amount: Credits = strawberry.field(description="What is, or was, set aside.")
    settled_amount: Credits | None = strawberry.field(description="What was charged.")
    expires_at: datetime | None = strawberry.field(
        description="When it ends by itself; null once it has ended."
    )

    @classmethod
    def of_change(cls, change: ReservationChange) -> "ReservationState":
        """Return the state of a pushed change."""
        return cls(
            id=strawberry.ID(str(change.id)),
            status=ReservationStatus(change.status),
            amount=Credits(change.amount),
            settled_amount=_optional_credits(change.settled_amount),
            expires_at=change.expires_at,
        )


def transaction_id(account_id: object, version: int) -> strawberry.ID:
    """Return the id of a ledger row: its account and its version."""
    return strawberry.ID(f"{account_id}:{version}")


OrganizationId = Annotated[
    strawberry.ID, strawberry.argument(description="The organization whose credits these are.")
]
