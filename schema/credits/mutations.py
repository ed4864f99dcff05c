"""Mutations of the credits domain: one SQL function each."""

from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.core.refusals import invalid
from app.credits import ExtendRequest, ReleaseRequest, ReserveRequest
from app.identity.rights import Operation
from schema.context import account_of
from schema.credits.inputs import (
    AdjustCreditsInput,
    DeductCreditsInput,
    ExtendReservationInput,
    ForgiveOverageInput,
    GrantCreditsInput,
    RefundCreditsInput,
    ReleaseCreditsInput,
    ReserveCreditsInput,
    SettleCreditsInput,
    VoidGrantInput,
    read_metadata,
    read_reason,
    read_subject,
    read_usage,
)
from schema.credits.results import (
    AdjustCreditsSuccess,
    DeductCreditsSuccess,
    ExtendReservationSuccess,
    ForgiveOverageSuccess,
    GrantCreditsSuccess,
    RefundCreditsSuccess,
    ReleaseCreditsSuccess,
    ReserveCreditsSuccess,
    SettleCreditsSuccess,
    VoidGrantSuccess,
)
from schema.credits.unions import (
    AdjustCreditsResult,
    DeductCreditsResult,
    ExtendReservationResult,
    ForgiveOverageResult,
    GrantCreditsResult,
    RefundCreditsResult,
    ReleaseCreditsResult,
    ReserveCreditsResult,
    SettleCreditsResult,
    VoidGrantResult,
)
from schema.inputs import read_id, read_key, read_text, value_of
from schema.refusals import RefusalsAsData
from schema.scalars import Credits

# As many as always fit a bigint.
_VERSION_DIGITS = 18


def _above_zero(amount: Credits) -> int:
    if amount <= 0:
        raise invalid("amount", "must be above 0")
    return amount


Input = strawberry.argument(description="What to do.")


@strawberry.type
class CreditMutations:
    """What can be done with credits."""

    @strawberry.mutation(
        description="Set credits aside for work that is under way.", extensions=[RefusalsAsData()]
    )
    async def reserve_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[ReserveCreditsInput, Input],  # noqa: A002  # the contract's word
    ) -> ReserveCreditsResult:
        context, account_id = await account_of(info, Operation.RESERVE, input.organization_id)
        request = ReserveRequest(
            idempotency_key=read_key(input.idempotency_key),
            amount=_above_zero(input.amount),
            ttl_seconds=input.ttl_seconds,
            **read_subject(input),
            actor=context.actor,
            metadata=read_metadata(input.metadata),
        )
        row = await context.services.credits.reserve(account_id, request)
        return ReserveCreditsSuccess.of(row)

    @strawberry.mutation(description="Hold more, or for longer.", extensions=[RefusalsAsData()])
    async def extend_reservation(
        self,
        info: Info[Any, Any],
        input: Annotated[ExtendReservationInput, Input],  # noqa: A002
    ) -> ExtendReservationResult:
        context, account_id = await account_of(info, Operation.EXTEND, input.organization_id)
        request = ExtendRequest(
            reservation_id=read_id(input.reservation_id, "reservationId"),
            amount=None if input.amount is None else _above_zero(input.amount),
            expires_at=input.expires_at,
        )
        row = await context.services.credits.extend(account_id, request)
        return ExtendReservationSuccess.of(row)

    @strawberry.mutation(
        description="Charge what was really used, and close the reservation."
        " More than was reserved is charged too; so is a settle after expiry.",
        extensions=[RefusalsAsData()],
    )
    async def settle_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[SettleCreditsInput, Input],  # noqa: A002
    ) -> SettleCreditsResult:
        context, account_id = await account_of(info, Operation.SETTLE, input.organization_id)
        if input.amount < 0:
            raise invalid("amount", "must be at least 0")
        request = read_usage(
            input.usage,
            reservation_id=read_id(input.reservation_id, "reservationId"),
            amount=input.amount,
            actor=context.actor,
        )
        row = await context.services.credits.settle(account_id, request)
        return SettleCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Give reserved credits back; nothing was used.", extensions=[RefusalsAsData()]
    )
    async def release_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[ReleaseCreditsInput, Input],  # noqa: A002
    ) -> ReleaseCreditsResult:
        context, account_id = await account_of(info, Operation.RELEASE, input.organization_id)
        request = ReleaseRequest(
            reservation_id=read_id(input.reservation_id, "reservationId"),
            reason=read_reason(input.reason),
        )
        row = await context.services.credits.release(account_id, request)
        return ReleaseCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Charge for work that is done, without reserving first.",
        extensions=[RefusalsAsData()],
    )
    async def deduct_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[DeductCreditsInput, Input],  # noqa: A002
    ) -> DeductCreditsResult:
        context, account_id = await account_of(info, Operation.DEDUCT, input.organization_id)
        row = await context.services.credits.deduct(
            account_id,
            _above_zero(input.amount),
            read_key(input.idempotency_key),
            **read_subject(input),
            usage=None
            if input.usage is None
            else read_usage(input.usage, reservation_id=None, amount=None),
            reason=read_reason(input.reason),
            actor=context.actor,
            metadata=read_metadata(input.metadata),
        )
        return DeductCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Give credits: a top-up, a promotion, a referral.",
        extensions=[RefusalsAsData()],
    )
    async def grant_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[GrantCreditsInput, Input],  # noqa: A002
    ) -> GrantCreditsResult:
        context, account_id = await account_of(info, Operation.GRANT, input.organization_id)
        row = await context.services.credits.issue_grant(
            account_id,
            _above_zero(input.amount),
            value_of(input.source),
            read_key(input.idempotency_key),
            category=None if input.category is None else value_of(input.category),
            priority=input.priority,
            effective_at=input.effective_at,
            expires_at=input.expires_at,
            source_ref=read_text(input.source_ref, "sourceRef"),
            reason=read_reason(input.reason),
            actor=context.actor,
            metadata=read_metadata(input.metadata),
        )
        return GrantCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Put credits in, or take credits out, by hand.", extensions=[RefusalsAsData()]
    )
    async def adjust_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[AdjustCreditsInput, Input],  # noqa: A002
    ) -> AdjustCreditsResult:
        context, account_id = await account_of(info, Operation.ADJUST, input.organization_id)
        row = await context.services.credits.adjust(
            account_id,
            input.amount,
            read_key(input.idempotency_key),
            read_reason(input.reason) or "",
            expires_at=input.expires_at,
            actor=context.actor,
            metadata=read_metadata(input.metadata),
        )
        return AdjustCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Give back what a call was charged, as new grants.",
        extensions=[RefusalsAsData()],
    )
    async def refund_credits(
        self,
        info: Info[Any, Any],
        input: Annotated[RefundCreditsInput, Input],  # noqa: A002
    ) -> RefundCreditsResult:
        context, account_id = await account_of(info, Operation.REFUND, input.organization_id)
        if (input.reservation_id is None) == (input.transaction_id is None):
            raise invalid("reservationId", "name the reservation or the transaction, one of them")
        row = await context.services.credits.refund(
            account_id,
            read_key(input.idempotency_key),
            reservation_id=None
            if input.reservation_id is None
            else read_id(input.reservation_id, "reservationId"),
            version=None
            if input.transaction_id is None
            else _read_transaction_id(input.transaction_id, account_id),
            amount=None if input.amount is None else _above_zero(input.amount),
            reason=read_reason(input.reason),
            actor=context.actor,
        )
        return RefundCreditsSuccess.of(row)

    @strawberry.mutation(
        description="Take a grant back, as far as reservations leave it.",
        extensions=[RefusalsAsData()],
    )
    async def void_grant(
        self,
        info: Info[Any, Any],
        input: Annotated[VoidGrantInput, Input],  # noqa: A002
    ) -> VoidGrantResult:
        context, account_id = await account_of(info, Operation.VOID, input.organization_id)
        row = await context.services.credits.void_grant(
            account_id,
            read_id(input.grant_id, "grantId"),
            read_key(input.idempotency_key),
            amount=None if input.amount is None else _above_zero(input.amount),
            missing_becomes_overage=input.missing_becomes_overage,
            reason=read_reason(input.reason),
            actor=context.actor,
        )
        return VoidGrantSuccess.of(row)

    @strawberry.mutation(
        description="Let debt go: what is owed for work that is done.",
        extensions=[RefusalsAsData()],
    )
    async def forgive_overage(
        self,
        info: Info[Any, Any],
        input: Annotated[ForgiveOverageInput, Input],  # noqa: A002
    ) -> ForgiveOverageResult:
        context, account_id = await account_of(info, Operation.FORGIVE, input.organization_id)
        row = await context.services.credits.forgive_overage(
            account_id,
            read_key(input.idempotency_key),
            read_reason(input.reason) or "",
            amount=None if input.amount is None else _above_zero(input.amount),
            actor=context.actor,
        )
        return ForgiveOverageSuccess.of(row)


def _read_transaction_id(value: strawberry.ID, account_id: UUID) -> int:
    account, _, version = str(value).partition(":")
    if (
        account != str(account_id)
        or not version.isascii()
        or not version.isdigit()
        or len(version) > _VERSION_DIGITS
    ):
        raise invalid("transactionId", "must be the id of a transaction of this organization")
    return int(version)
