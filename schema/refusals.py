"""The GraphQL face of refusals: one type for each that a client can act on.

A mutation returns a union of its result and the refusals it lists; each implements
`Refusal`. A refusal that is not in the union, and every fault, is a top-level error.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import FieldExtension
from strawberry.types import Info
from strawberry.types.union import StrawberryUnion

from app.core import refusals
from app.core.units import show_credits
from schema.scalars import Credits, Version

_make_enum: Any = Enum
_codes = _make_enum(
    "RefusalCode",
    {
        code: strawberry.enum_value(code, description=f"{entry.message} {entry.advice}")
        for code, entry in refusals.CATALOGUE.items()
    },
)
RefusalCode: Any = strawberry.enum(
    _codes,
    description="Why a request was refused. `frontend-contract/refusals.json` tells more.",
)


@strawberry.interface(name="Refusal", description="An expected no, with its code.")
class RefusalInterface:
    """What all refusals have."""

    code: RefusalCode = strawberry.field(description="The code of the catalogue.")
    message: str = strawberry.field(description="What was refused, and what to do about it.")


@strawberry.type(description="The key may not do that.")
class Forbidden(RefusalInterface):
    """FORBIDDEN."""

    operation: str = strawberry.field(description="What was asked for.")


@strawberry.type(description="The key lacks a scope.")
class ScopeRequired(RefusalInterface):
    """SCOPE_REQUIRED."""

    scope: str = strawberry.field(description="The scope that is needed.")


@strawberry.type(description="A value is out of range or malformed.")
class InvalidInput(RefusalInterface):
    """VALIDATION_ERROR."""

    field: str = strawberry.field(description="The input field.")
    reason: str = strawberry.field(description="What it must be.")


@strawberry.type(description="No such thing, or not for this key to see.")
class NotFound(RefusalInterface):
    """NOT_FOUND."""

    kind: str = strawberry.field(description="What was looked for.")
    id: strawberry.ID = strawberry.field(description="By which id.")


@strawberry.type(description="The plan is sold no more.")
class PlanInactive(RefusalInterface):
    """PLAN_INACTIVE."""

    plan: str = strawberry.field(description="The plan.")


@strawberry.type(description="Something with that name exists already.")
class Conflict(RefusalInterface):
    """CONFLICT."""

    field: str = strawberry.field(description="The field whose value is taken.")


@strawberry.type(description="The idempotency key was used for another request.")
class DuplicateRequest(RefusalInterface):
    """DUPLICATE_REQUEST."""

    idempotency_key: str = strawberry.field(description="The key.")


@strawberry.type(description="The account was busy; the same request may be sent again.")
class Busy(RefusalInterface):
    """BUSY."""


@strawberry.type(description="The organization has no credit account.")
class BalanceNotFound(RefusalInterface):
    """BALANCE_NOT_FOUND."""

    account_id: strawberry.ID = strawberry.field(description="The organization.")


@strawberry.type(description="Not enough credits.")
class InsufficientCredits(RefusalInterface):
    """INSUFFICIENT_CREDITS."""

    required: Credits = strawberry.field(description="What was asked for.")
    spendable: Credits = strawberry.field(description="What could be had.")
    shortfall: Credits = strawberry.field(description="What is missing.")


@strawberry.type(description="The account cannot hold that many credits.")
class BalanceLimit(RefusalInterface):
    """BALANCE_LIMIT."""

    limit: Credits = strawberry.field(description="The largest lifetime sum of an account.")


@strawberry.type(description="No such reservation on this account.")
class ReservationNotFound(RefusalInterface):
    """RESERVATION_NOT_FOUND."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")


@strawberry.type(description="The reservation is settled already, with another amount.")
class ReservationSettled(RefusalInterface):
    """RESERVATION_SETTLED."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    settled_amount: Credits = strawberry.field(description="The amount that won.")


@strawberry.type(description="The reservation was released.")
class ReservationReleased(RefusalInterface):
    """RESERVATION_RELEASED."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")


@strawberry.type(description="The reservation has expired. It can still be settled.")
class ReservationExpired(RefusalInterface):
    """RESERVATION_EXPIRED."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")


@strawberry.type(description="The amount is absurdly far above what was reserved.")
class SettleAmountImplausible(RefusalInterface):
    """SETTLE_AMOUNT_IMPLAUSIBLE."""

    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    amount: Credits = strawberry.field(description="What was to be charged.")
    limit: Credits = strawberry.field(description="The most that is believed.")


@strawberry.type(description="No such grant on this account.")
class GrantNotFound(RefusalInterface):
    """GRANT_NOT_FOUND."""

    grant_id: strawberry.ID = strawberry.field(description="The grant.")


@strawberry.type(description="No such consumption on this account.")
class TransactionNotFound(RefusalInterface):
    """TRANSACTION_NOT_FOUND."""

    version: Version = strawberry.field(description="The version that was named.")


@strawberry.type(description="More would be refunded than was charged.")
class RefundExceedsSettled(RefusalInterface):
    """REFUND_EXCEEDS_SETTLED."""

    requested: Credits = strawberry.field(description="What was asked for.")
    refundable: Credits = strawberry.field(description="What can still be refunded.")


@strawberry.type(description="The plan does not open that.")
class FeatureDenied(RefusalInterface):
    """FEATURE_DENIED."""

    reason: str = strawberry.field(description="Which of the reasons of `aiAccess`.")
    feature: str = strawberry.field(description="The feature.")
    plan: str | None = strawberry.field(description="The plan, if there is one.")


@strawberry.type(description="As many calls as the plan allows have begun.")
class RateLimited(RefusalInterface):
    """RATE_LIMITED."""

    limit: str = strawberry.field(description="Which of the limits of `featureLimits`.")
    most: int = strawberry.field(description="How many may begin.")
    resets_at: datetime | None = strawberry.field(
        description="When the next may begin; null for a limit of 0."
    )


@strawberry.type(description="No provider of the model can be asked.")
class ProviderUnavailable(RefusalInterface):
    """PROVIDER_UNAVAILABLE."""


@strawberry.type(description="The provider failed, and so did who could stand in for it.")
class ProviderError(RefusalInterface):
    """PROVIDER_ERROR."""


@strawberry.type(description="The provider refuses the request for what it is.")
class ProviderRefused(RefusalInterface):
    """PROVIDER_REFUSED."""

    reason: str = strawberry.field(description="What the provider says.")


# What any mutation on an account may answer; and any that gives, takes back or sets terms.
OfSpending = BalanceNotFound | Forbidden | NotFound | InvalidInput | Busy
OfCalling = (
    OfSpending
    | ScopeRequired
    | InsufficientCredits
    | DuplicateRequest
    | FeatureDenied
    | RateLimited
    | ProviderUnavailable
    | ProviderError
    | ProviderRefused
)
OfGiving = BalanceNotFound | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy

TYPES: dict[str, type[RefusalInterface]] = {
    entry.code: globals()[entry.type]
    for entry in refusals.CATALOGUE.values()
    if entry.type is not None
}


_SHOWN: dict[str | None, Callable[[Any], Any]] = {
    "Credits": show_credits,
    "Version": int,
    "Int": int,
}


def show(refusal: refusals.Refusal) -> RefusalInterface:
    """Return the GraphQL object of a refusal."""
    types = refusal.entry.facts
    facts = {
        _snake(name): _instant(value) if types.get(name) == "DateTime" else value
        for name, value in refusal.facts.items()
    }
    return TYPES[refusal.code](
        code=RefusalCode(refusal.code),
        message=refusal.message,
        **facts,
    )


def error(refusal: refusals.Refusal) -> GraphQLError:
    """Return the top-level error of a refusal that no union lists."""
    types = refusal.entry.facts
    facts = {
        name: None if value is None else _SHOWN.get(types.get(name), str)(value)
        for name, value in refusal.facts.items()
    }
    return GraphQLError(refusal.message, extensions={"code": refusal.code, **facts})


class RefusalsAsData(FieldExtension):
    """Answers a refusal with its type if the field's union lists it."""

    def __init__(self) -> None:
        self._listed: frozenset[str] = frozenset()

    def apply(self, field: Any) -> None:
        """Remember which refusals the field's union lists."""
        union = field.type
        if isinstance(union, StrawberryUnion):
            members = {getattr(member, "__name__", "") for member in union.types}
            self._listed = frozenset(
                code for code, type_ in TYPES.items() if type_.__name__ in members
            )

    async def resolve_async(
        self,
        next_: Callable[..., Awaitable[Any]],
        source: Any,
        info: Info[Any, Any],
        **kwargs: Any,
    ) -> Any:
        """Call the resolver and catch what it refuses."""
        try:
            return await next_(source, info, **kwargs)
        except refusals.Refusal as refusal:
            if refusal.code in self._listed:
                return show(refusal)
            raise


def _instant(value: str | datetime | None) -> datetime | None:
    """Return a time that Postgres told as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
