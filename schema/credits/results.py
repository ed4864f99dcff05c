"""What the credit mutations answer when they succeed."""

from datetime import datetime

import strawberry

from app.credits import rows
from schema.credits.enums import GrantState, ReservationStatus
from schema.credits.types import CreditBalance, ReservationState, transaction_id
from schema.scalars import Credits

_BALANCE = "The balance after it, or now if this is a replay."
_REPLAYED = "Whether an earlier request had this key and this is its answer again."


def _balance(balance: rows.Balance | None) -> CreditBalance:
    if balance is None:
        raise RuntimeError("the only row of a set carries the balance")
    return CreditBalance.of(balance)


@strawberry.type(description="Credits are set aside.")
class ReserveCreditsSuccess:
    """Result of `reserveCredits`."""

    reservation: ReservationState = strawberry.field(description="The reservation.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Reserved) -> "ReserveCreditsSuccess":
        """Return the result of a row."""
        return cls(
            reservation=ReservationState(
                id=strawberry.ID(str(row.reservation_id)),
                status=ReservationStatus(row.status),
                amount=Credits(row.amount),
                settled_amount=None,
                expires_at=row.expires_at,
            ),
            balance=_balance(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="The reservation holds at least what was asked for.")
class ExtendReservationSuccess:
    """Result of `extendReservation`."""

    reservation: ReservationState = strawberry.field(description="The reservation.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description="Whether it held that much already.")

    @classmethod
    def of(cls, row: rows.Extended) -> "ExtendReservationSuccess":
        """Return the result of a row."""
        return cls(
            reservation=ReservationState(
                id=strawberry.ID(str(row.reservation_id)),
                status=ReservationStatus(row.status),
                amount=Credits(row.amount),
                settled_amount=None,
                expires_at=row.expires_at,
            ),
            balance=_balance(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="The call is charged.")
class SettleCreditsSuccess:
    """Result of `settleCredits`."""

    reservation: ReservationState = strawberry.field(description="The reservation.")
    transaction_id: strawberry.ID | None = strawberry.field(
        description="The ledger row; null when nothing was used."
    )
    late: bool = strawberry.field(description="Whether the reservation had expired before.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Settled) -> "SettleCreditsSuccess":
        """Return the result of a row."""
        balance = _balance(row.balance)
        return cls(
            reservation=ReservationState(
                id=strawberry.ID(str(row.reservation_id)),
                status=ReservationStatus(row.status),
                amount=Credits(row.amount),
                settled_amount=Credits(row.settled_amount),
                expires_at=None,
            ),
            transaction_id=transaction_id(balance.organization_id, row.version)
            if row.settled_amount
            else None,
            late=row.late,
            balance=balance,
            replayed=row.replayed,
        )


@strawberry.type(description="The credits are back.")
class ReleaseCreditsSuccess:
    """Result of `releaseCredits`."""

    reservation: ReservationState = strawberry.field(
        description="The reservation: released, or expired if it had been before."
    )
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description="Whether it had ended before.")

    @classmethod
    def of(cls, row: rows.Released) -> "ReleaseCreditsSuccess":
        """Return the result of a row."""
        return cls(
            reservation=ReservationState(
                id=strawberry.ID(str(row.reservation_id)),
                status=ReservationStatus(row.status),
                amount=Credits(row.amount),
                settled_amount=None,
                expires_at=None,
            ),
            balance=_balance(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="The work is charged.")
class DeductCreditsSuccess:
    """Result of `deductCredits`."""

    transaction_id: strawberry.ID = strawberry.field(description="The ledger row.")
    amount: Credits = strawberry.field(description="What was charged.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Deducted) -> "DeductCreditsSuccess":
        """Return the result of a row."""
        return cls(
            transaction_id=transaction_id(row.balance.account_id, row.version),
            amount=Credits(row.amount),
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="A grant as it stands after a request.")
class GrantReceipt:
    """The grant of `grantCredits`."""

    id: strawberry.ID = strawberry.field(description="The grant's id.")
    state: GrantState = strawberry.field(description="Where it stands.")
    amount: Credits = strawberry.field(description="What was given.")
    remaining: Credits = strawberry.field(description="What is left; debt was paid first.")
    effective_at: datetime = strawberry.field(description="From when it can be spent.")
    expires_at: datetime | None = strawberry.field(description="When it ends; null: never.")


@strawberry.type(description="Credits are given.")
class GrantCreditsSuccess:
    """Result of `grantCredits`."""

    grant: GrantReceipt = strawberry.field(description="The grant.")
    transaction_id: strawberry.ID | None = strawberry.field(
        description="The ledger row; null while the grant lies in the future."
    )
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Granted) -> "GrantCreditsSuccess":
        """Return the result of a row."""
        return cls(
            grant=GrantReceipt(
                id=strawberry.ID(str(row.grant_id)),
                state=GrantState(row.state),
                amount=Credits(row.amount),
                remaining=Credits(row.grant_remaining),
                effective_at=row.effective_at,
                expires_at=row.expires_at,
            ),
            transaction_id=None
            if row.version is None
            else transaction_id(row.balance.account_id, row.version),
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="The account is adjusted.")
class AdjustCreditsSuccess:
    """Result of `adjustCredits`."""

    amount: Credits = strawberry.field(description="What was put in, or out when negative.")
    grant_id: strawberry.ID | None = strawberry.field(description="The grant of credits put in.")
    transaction_id: strawberry.ID = strawberry.field(description="The ledger row.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Adjusted) -> "AdjustCreditsSuccess":
        """Return the result of a row."""
        return cls(
            amount=Credits(row.amount),
            grant_id=None if row.grant_id is None else strawberry.ID(str(row.grant_id)),
            transaction_id=transaction_id(row.balance.account_id, row.version),
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="A charge is given back.")
class RefundCreditsSuccess:
    """Result of `refundCredits`."""

    refunded_transaction_id: strawberry.ID = strawberry.field(description="The charge.")
    amount: Credits = strawberry.field(description="What was given back by this request.")
    refundable: Credits = strawberry.field(description="What of the charge is left to refund.")
    grant_ids: list[strawberry.ID] = strawberry.field(description="The grants it made.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Refunded) -> "RefundCreditsSuccess":
        """Return the result of a row."""
        return cls(
            refunded_transaction_id=transaction_id(row.balance.account_id, row.refunded_version),
            amount=Credits(row.amount),
            refundable=Credits(row.refundable),
            grant_ids=[strawberry.ID(str(grant_id)) for grant_id in row.grant_ids],
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="A grant is taken back, as far as it went.")
class VoidGrantSuccess:
    """Result of `voidGrant`."""

    grant_id: strawberry.ID = strawberry.field(description="The grant.")
    requested: Credits = strawberry.field(description="What was to be taken.")
    taken: Credits = strawberry.field(description="What was taken.")
    overage_added: Credits = strawberry.field(description="What is owed instead.")
    missing: Credits = strawberry.field(description="What had been spent or is reserved.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Voided) -> "VoidGrantSuccess":
        """Return the result of a row."""
        return cls(
            grant_id=strawberry.ID(str(row.grant_id)),
            requested=Credits(row.requested),
            taken=Credits(row.taken),
            overage_added=Credits(row.overage_added),
            missing=Credits(row.missing),
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )


@strawberry.type(description="Debt is let go.")
class ForgiveOverageSuccess:
    """Result of `forgiveOverage`."""

    amount: Credits = strawberry.field(description="What was let go.")
    transaction_id: strawberry.ID = strawberry.field(description="The ledger row.")
    balance: CreditBalance = strawberry.field(description=_BALANCE)
    replayed: bool = strawberry.field(description=_REPLAYED)

    @classmethod
    def of(cls, row: rows.Forgiven) -> "ForgiveOverageSuccess":
        """Return the result of a row."""
        return cls(
            amount=Credits(row.amount),
            transaction_id=transaction_id(row.balance.account_id, row.version),
            balance=CreditBalance.of(row.balance),
            replayed=row.replayed,
        )
