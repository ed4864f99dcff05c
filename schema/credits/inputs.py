"""Inputs of the credits domain."""

import re
from datetime import datetime
from math import isfinite
from typing import Any

import orjson
import strawberry
from strawberry.scalars import JSON

from app.core.refusals import invalid
from app.credits import SettleRequest
from app.credits.reads import TransactionFilter
from schema.credits.enums import GrantCategory, GrantSource, TransactionType
from schema.inputs import read_id, read_text, values_of
from schema.scalars import Credits

_METADATA = "Anything else: a JSON object of at most 16 kB and 64 levels."
_METADATA_BYTES = 16_384
# What is kept has to be written again, some levels down in an answer; 254 is the most.
_METADATA_LEVELS = 64
_LONGEST_REASON = 1_000
_LARGEST_INT64 = 2**63
_INT64_DIGITS = 19
# A NUL as JSON writes it; after an odd number of backslashes it is only its spelling.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def optional(description: str) -> Any:
    """Return an input field that may be left out."""
    return strawberry.field(default=None, description=description)


def read_metadata(value: JSON | None, field: str = "metadata") -> dict[str, Any] | None:
    """Return the caller's JSON object, of bounded size."""
    if value is None:
        return None
    data: Any = value
    if not isinstance(data, dict):
        raise invalid(field, "must be an object")
    if not _can_be_kept(data):
        raise invalid(field, f"must have at most {_METADATA_LEVELS} levels, and true numbers")
    try:
        written = orjson.dumps(data)
    except TypeError as error:
        raise invalid(field, "must be JSON with whole numbers of 64 bits") from error
    if len(written) > _METADATA_BYTES or _NUL.search(written):
        raise invalid(field, f"must take at most {_METADATA_BYTES} bytes, without NUL")
    return data


def _can_be_kept(data: dict[str, Any]) -> bool:
    """Say whether JSON can be answered as it came: not too deep to write, no infinity."""
    level: list[Any] = [data]
    for _ in range(_METADATA_LEVELS):
        inner = [
            value
            for container in level
            for value in (container.values() if isinstance(container, dict) else container)
        ]
        if any(isinstance(value, float) and not isfinite(value) for value in inner):
            return False
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return True
    return False


def read_reason(value: str | None) -> str | None:
    """Return a reason."""
    return read_text(value, "reason", _LONGEST_REASON)


@strawberry.input(description="Which ledger rows. What is left out does not narrow.")
class CreditTransactionFilter:
    """A filter of `creditTransactions`."""

    types: list[TransactionType] | None = optional("Rows of these types.")
    since: datetime | None = optional("Rows from this instant on.")
    until: datetime | None = optional("Rows before this instant.")
    feature: str | None = optional("Rows for a feature.")
    reservation_id: strawberry.ID | None = optional("The row of a reservation.")
    end_customer_ref: str | None = optional("Rows for one of your customers' customers.")

    def read(self) -> TransactionFilter:
        """Return the filter of the domain."""
        return TransactionFilter(
            types=None if self.types is None else values_of(self.types),
            since=self.since,
            until=self.until,
            feature=read_text(self.feature, "feature"),
            reservation_id=None
            if self.reservation_id is None
            else read_id(self.reservation_id, "reservationId"),
            end_customer_ref=read_text(self.end_customer_ref, "endCustomerRef"),
        )


@strawberry.input(description="What the credits are for. Kept on the ledger row as it was then.")
class RelatedEntityInput:
    """A related entity."""

    type: str | None = optional("What kind of thing.")
    id: strawberry.ID | None = optional("Its id in your system.")
    name: str | None = optional("Its name now.")


@strawberry.input(description="What a call used. Kept as a usage record.")
class UsageInput:
    """The usage of a call."""

    operation: str | None = optional("completion, chat, embedding, or a name of yours.")
    model: str | None = optional("The model that answered.")
    input_tokens: int | None = optional("Tokens of the prompt.")
    output_tokens: int | None = optional("Tokens of the answer.")
    estimated: bool = strawberry.field(
        default=False, description="Whether the provider gave no figures and these are a guess."
    )
    cost_nanodollars: str | None = optional("What the provider charged, in 10^-9 dollars.")
    latency_ms: int | None = optional("How long it took.")
    status_code: int | None = optional("The provider's HTTP status.")
    trace_id: str | None = optional("The trace it belongs to.")
    occurred_at: datetime | None = optional("When it happened; now if left out.")
    metadata: JSON | None = optional(_METADATA)

    def read(self, **known: Any) -> SettleRequest:
        """Return a request to settle with this usage."""
        return SettleRequest(
            **known,
            operation=read_text(self.operation, "usage.operation"),
            model=read_text(self.model, "usage.model"),
            input_tokens=_not_negative(self.input_tokens, "usage.inputTokens"),
            output_tokens=_not_negative(self.output_tokens, "usage.outputTokens"),
            usage_estimated=self.estimated,
            cost_nanodollars=_read_int64(self.cost_nanodollars, "usage.costNanodollars"),
            latency_ms=_not_negative(self.latency_ms, "usage.latencyMs"),
            status_code=self.status_code,
            trace_id=read_text(self.trace_id, "usage.traceId"),
            occurred_at=self.occurred_at,
            metadata=read_metadata(self.metadata),
        )


def read_usage(usage: UsageInput | None, **known: Any) -> SettleRequest:
    """Return a request to settle, with usage or without."""
    return SettleRequest(**known) if usage is None else usage.read(**known)


def _not_negative(value: int | None, field: str) -> int | None:
    if value is not None and value < 0:
        raise invalid(field, "must be at least 0")
    return value


def _read_int64(value: str | None, field: str) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > _INT64_DIGITS:
        raise invalid(field, "must be a whole number from 0, below 2^63")
    if int(value) >= _LARGEST_INT64:
        raise invalid(field, "must be a whole number from 0, below 2^63")
    return int(value)


@strawberry.input(description="Set credits aside.")
class ReserveCreditsInput:
    """Input of `reserveCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    amount: Credits = strawberry.field(description="How much, above zero.")
    idempotency_key: str = strawberry.field(
        description="Names this request: the same key again answers the same reservation."
    )
    ttl_seconds: int = strawberry.field(
        default=300, description="After how long it ends by itself, from 1 to 86400."
    )
    feature: str | None = optional("The feature it is for.")
    quality: str | None = optional("The quality level.")
    model: str | None = optional("The model.")
    price_version: str | None = optional("The price it will be charged by.")
    end_customer_ref: str | None = optional("Your customer's customer.")
    related: RelatedEntityInput | None = optional("What it is for.")
    metadata: JSON | None = optional(_METADATA)


@strawberry.input(description="Raise a reservation. Amounts and times only ever rise.")
class ExtendReservationInput:
    """Input of `extendReservation`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    amount: Credits | None = optional("Hold at least this much altogether.")
    expires_at: datetime | None = optional("Hold at least until then.")


@strawberry.input(description="Charge what was used, and close the reservation.")
class SettleCreditsInput:
    """Input of `settleCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    amount: Credits = strawberry.field(description="What was used; may be zero.")
    usage: UsageInput | None = optional("What the call used.")


@strawberry.input(description="Give reserved credits back; nothing was used.")
class ReleaseCreditsInput:
    """Input of `releaseCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    reservation_id: strawberry.ID = strawberry.field(description="The reservation.")
    reason: str | None = optional("Why: failed, canceled, timeout, or your words.")


@strawberry.input(description="Charge for work that is done, without reserving first.")
class DeductCreditsInput:
    """Input of `deductCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    amount: Credits = strawberry.field(description="How much, above zero.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    feature: str | None = optional("The feature it was for.")
    quality: str | None = optional("The quality level.")
    model: str | None = optional("The model.")
    price_version: str | None = optional("The price it is charged by.")
    end_customer_ref: str | None = optional("Your customer's customer.")
    related: RelatedEntityInput | None = optional("What it was for.")
    usage: UsageInput | None = optional("What the call used.")
    reason: str | None = optional("Why.")
    metadata: JSON | None = optional(_METADATA)


@strawberry.input(description="Give credits.")
class GrantCreditsInput:
    """Input of `grantCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="To whom.")
    amount: Credits = strawberry.field(description="How much, above zero.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    source: GrantSource = strawberry.field(
        default=GrantSource.PROMOTIONAL,
        description="top_up, promotional, referral or admin_adjustment.",
    )
    category: GrantCategory | None = optional("Paid for top-ups, else promotional.")
    priority: int = strawberry.field(default=50, description="0 to 100; lower is drawn first.")
    effective_at: datetime | None = optional("From when it can be spent; now if left out.")
    expires_at: datetime | None = optional("When it ends; never if left out.")
    source_ref: str | None = optional("The payment or rule behind it.")
    reason: str | None = optional("Why.")
    metadata: JSON | None = optional(_METADATA)


@strawberry.input(description="Put credits in, or take credits out, by hand.")
class AdjustCreditsInput:
    """Input of `adjustCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    amount: Credits = strawberry.field(
        description="In when positive, out when negative; never more out than is available."
    )
    idempotency_key: str = strawberry.field(description="Names this request.")
    reason: str = strawberry.field(description="Why; it stays on the ledger.")
    expires_at: datetime | None = optional("When credits put in end; never if left out.")
    metadata: JSON | None = optional(_METADATA)


@strawberry.input(description="Give back what a call was charged. Name the call in one way.")
class RefundCreditsInput:
    """Input of `refundCredits`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    reservation_id: strawberry.ID | None = optional("The settled reservation.")
    transaction_id: strawberry.ID | None = optional("The consumption on the ledger.")
    amount: Credits | None = optional("How much; all that is left if left out.")
    reason: str | None = optional("Why.")


@strawberry.input(description="Take a grant back.")
class VoidGrantInput:
    """Input of `voidGrant`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose credits.")
    grant_id: strawberry.ID = strawberry.field(description="The grant.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    amount: Credits | None = optional("How much of it; all if left out.")
    missing_becomes_overage: bool = strawberry.field(
        default=False, description="For disputes: what was spent already is owed."
    )
    reason: str | None = optional("Why.")


@strawberry.input(description="Let debt go.")
class ForgiveOverageInput:
    """Input of `forgiveOverage`."""

    organization_id: strawberry.ID = strawberry.field(description="Whose debt.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    reason: str = strawberry.field(description="Why; it stays on the ledger.")
    amount: Credits | None = optional("How much; all that is owed if left out.")


def read_subject(
    source: ReserveCreditsInput | DeductCreditsInput,
) -> dict[str, str | None]:
    """Return what the credits are for."""
    related = source.related or RelatedEntityInput()
    return {
        "feature": read_text(source.feature, "feature"),
        "quality": read_text(source.quality, "quality"),
        "model": read_text(source.model, "model"),
        "price_version": read_text(source.price_version, "priceVersion"),
        "end_customer_ref": read_text(source.end_customer_ref, "endCustomerRef"),
        "related_type": read_text(related.type, "related.type"),
        "related_id": read_text(related.id, "related.id"),
        "related_name": read_text(related.name, "related.name"),
    }
