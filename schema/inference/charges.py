"""Why a call of a model cost what it did."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from app.inference import rows
from schema.credits.enums import GrantSource
from schema.credits.types import transaction_id
from schema.inference.enums import CallOutcome, CallState
from schema.inference.results import shown_tokens
from schema.scalars import Credits, Dollars


def _credits(value: int | None) -> Credits | None:
    return None if value is None else Credits(value)


def _tokens(told: int | None) -> int | None:
    return None if told is None else shown_tokens(told)


@strawberry.type(description="What of a charge one grant paid.")
class ChargeDraw:
    """One grant's part."""

    grant_id: strawberry.ID = strawberry.field(description="The grant.")
    source: GrantSource = strawberry.field(description="Where its credits came from.")
    amount: Credits = strawberry.field(description="What it paid.")
    expires_at: datetime | None = strawberry.field(description="When it expires, if it does.")

    @classmethod
    def of(cls, told: dict[str, Any]) -> "ChargeDraw":
        """Return the type of a draw as Postgres tells it."""
        at = told["expires_at"]
        return cls(
            grant_id=strawberry.ID(told["grant_id"]),
            source=GrantSource(told["source"]),
            amount=Credits(told["amount"]),
            expires_at=None if at is None else datetime.fromisoformat(at),
        )


@strawberry.type(description="A model that was asked before and failed. It costs nothing.")
class FailedAttempt:
    """An attempt."""

    attempt: int = strawberry.field(description="Which one, from 1.")
    model: str = strawberry.field(description="The model that was asked.")
    provider: str = strawberry.field(description="Its provider.")
    error: str = strawberry.field(description="How it failed.")
    status_code: int | None = strawberry.field(description="What it answered, if it did.")
    asked_at: datetime = strawberry.field(description="When it was asked.")
    failed_at: datetime = strawberry.field(description="When it had failed.")

    @classmethod
    def of(cls, told: dict[str, Any]) -> "FailedAttempt":
        """Return the type of an attempt as Postgres tells it."""
        return cls(
            attempt=told["attempt"],
            model=told["model"],
            provider=told["provider"],
            error=told["error"],
            status_code=told["status_code"],
            asked_at=datetime.fromisoformat(told["asked_at"]),
            failed_at=datetime.fromisoformat(told["failed_at"]),
        )


@strawberry.type(
    description="What the provider takes: shown to back-ends, not to an organization's own keys."
)
class ProviderCost:
    """A provider's side of a charge."""

    cost: Dollars | None = strawberry.field(description="For this call; null until it is charged.")
    input_per_million: Dollars = strawberry.field(description="For a million tokens read.")
    cached_input_per_million: Dollars = strawberry.field(description="Of these, from a cache.")
    output_per_million: Dollars = strawberry.field(description="For a million tokens written.")
    dollars_per_credit: Dollars | None = strawberry.field(
        description="What a credit stands for; null where that has changed since."
    )


@strawberry.type(description="Why a call of a model cost what it did.")
class Charge:
    """A call, and its charge."""

    id: strawberry.ID = strawberry.field(
        description="The call's id: also that of its reservation, and `X-Exchequer-Call`."
    )
    state: CallState = strawberry.field(description="How far it has come.")
    outcome: CallOutcome | None = strawberry.field(description="How it ended; null until then.")
    feature: str = strawberry.field(description="For which feature.")
    quality: str | None = strawberry.field(description="At which level.")
    multiplier_basis_points: int | None = strawberry.field(
        description="The level's multiplier: of estimates, since the charge is by tokens."
    )
    plan: str = strawberry.field(description="The plan that opened it.")
    plan_version: int = strawberry.field(description="Which version of that.")
    is_stream: bool = strawberry.field(description="Whether it was answered piece by piece.")
    model: str = strawberry.field(description="The model that answered.")
    provider: str = strawberry.field(description="Its provider.")
    price_version: int | None = strawberry.field(
        description="The version of the model's price; null if it has none."
    )
    credits_per_1k_tokens: Credits | None = strawberry.field(
        description="The rate by which it was charged instead of that price."
    )
    counted_tokens: int = strawberry.field(
        description="The prompt as it was counted beforehand, rather too high."
    )
    input_tokens: int | None = strawberry.field(description="What was read.")
    cached_input_tokens: int | None = strawberry.field(description="Of that, from a cache.")
    output_tokens: int | None = strawberry.field(description="What was written.")
    is_estimated: bool | None = strawberry.field(
        description="Whether the provider did not say what it used."
    )
    provider_cost: ProviderCost | None = strawberry.field(
        description="What the provider takes; null for keys that may not see it."
    )
    exact: Credits | None = strawberry.field(
        description="The charge before rounding; null where the rules have changed since."
    )
    increment: Credits | None = strawberry.field(description="To which it was rounded up.")
    minimum_charge: Credits | None = strawberry.field(description="The least that is charged.")
    reserved: Credits = strawberry.field(description="What was set aside in the end.")
    charged: Credits | None = strawberry.field(description="What was charged; null until then.")
    refunded: Credits = strawberry.field(description="What of that was given back since.")
    owed: Credits | None = strawberry.field(description="What of it no grant could pay.")
    transaction_id: strawberry.ID | None = strawberry.field(
        description="The ledger row; null where nothing was charged."
    )
    draws: list[ChargeDraw] = strawberry.field(description="Who paid it, in order.")
    attempts: list[FailedAttempt] = strawberry.field(
        description="Who was asked before, and failed."
    )
    end_customer_ref: str | None = strawberry.field(description="For which end customer.")
    related_type: str | None = strawberry.field(description="About what kind of thing.")
    related_id: str | None = strawberry.field(description="About which.")
    trace_id: str | None = strawberry.field(description="The id of the request, as in the logs.")
    error: str | None = strawberry.field(description="Why nobody answered.")
    status_code: int | None = strawberry.field(description="What the provider answered.")
    latency_milliseconds: int | None = strawberry.field(description="How long it took.")
    opened_at: datetime = strawberry.field(description="When it began.")
    closed_at: datetime | None = strawberry.field(description="When it had ended.")

    @classmethod
    def of(cls, account_id: UUID, row: rows.Charge, *, shows_cost: bool) -> "Charge":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.call_id)),
            state=CallState(row.state),
            outcome=None if row.outcome is None else CallOutcome(row.outcome),
            feature=row.feature,
            quality=row.quality,
            multiplier_basis_points=row.multiplier_basis_points,
            plan=row.plan_key,
            plan_version=row.plan_version,
            is_stream=row.is_stream,
            model=row.model,
            provider=row.provider,
            price_version=row.price_version,
            credits_per_1k_tokens=_credits(row.credits_per_1k_tokens),
            counted_tokens=row.prompt_tokens,
            input_tokens=_tokens(row.input_tokens),
            cached_input_tokens=_tokens(row.cached_input_tokens),
            output_tokens=_tokens(row.output_tokens),
            is_estimated=row.usage_estimated,
            provider_cost=_cost(row) if shows_cost else None,
            exact=_credits(row.exact_amount),
            increment=_credits(row.increment),
            minimum_charge=_credits(row.minimum_charge),
            reserved=Credits(row.reserved_amount),
            charged=_credits(row.charged_amount),
            refunded=Credits(row.refunded_amount),
            owed=_credits(row.overage),
            transaction_id=(
                None if row.version is None else transaction_id(account_id, row.version)
            ),
            draws=[ChargeDraw.of(draw) for draw in row.draws],
            attempts=[FailedAttempt.of(attempt) for attempt in row.attempts],
            end_customer_ref=row.end_customer_ref,
            related_type=row.related_type,
            related_id=row.related_id,
            trace_id=row.trace_id,
            error=row.error,
            status_code=row.status_code,
            latency_milliseconds=row.latency_ms,
            opened_at=row.opened_at,
            closed_at=row.closed_at,
        )


def _cost(row: rows.Charge) -> ProviderCost | None:
    if (
        row.input_nanodollars is None
        or row.cached_input_nanodollars is None
        or row.output_nanodollars is None
    ):
        return None
    per_credit = row.nanodollars_per_credit
    return ProviderCost(
        cost=None if row.cost_nanodollars is None else Dollars(row.cost_nanodollars),
        input_per_million=Dollars(row.input_nanodollars),
        cached_input_per_million=Dollars(row.cached_input_nanodollars),
        output_per_million=Dollars(row.output_nanodollars),
        dollars_per_credit=None if per_credit is None else Dollars(per_credit),
    )
