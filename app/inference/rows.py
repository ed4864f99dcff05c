"""What the inference functions take and answer. Amounts are micro-credits.

Requests are named tuples in the order of the composite types they fill; rows are dataclasses
that name the columns they read. A house test compares both with Postgres.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from app.credits import Actor, Balance
from app.credits.rows import Extended, Facts, Released, Settled

__all__ = ["Extended", "Released", "Settled"]


class OpenRequest(NamedTuple):
    """A call that is to begin. `fingerprint`: a digest of all that was asked, 32 bytes.

    `prompt_tokens` and `output_tokens` are upper bounds, the latter for each of the `choices`.
    With `first_tokens` it is a stream, and as much is reserved at first.
    """

    idempotency_key: str
    fingerprint: bytes
    feature: str
    quality: str | None
    model: str | None
    prompt_tokens: int
    output_tokens: int | None
    choices: int = 1
    first_tokens: int | None = None
    ttl_seconds: int = 300
    end_customer_ref: str | None = None
    related_type: str | None = None
    related_id: str | None = None
    related_name: str | None = None
    trace_id: str | None = None
    actor: Actor | None = None
    metadata: Facts | None = None


class ExtendRequest(NamedTuple):
    """Hold for at least `tokens` of output, for `ttl_seconds` from now; so much is written."""

    call_id: UUID
    tokens: int | None
    noted_tokens: int
    ttl_seconds: int


class CloseRequest(NamedTuple):
    """What a call used. `cached_input_tokens` are part of the input."""

    call_id: UUID
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    usage_estimated: bool
    outcome: str
    status_code: int | None = None
    latency_ms: int | None = None
    occurred_at: datetime | None = None


class GiveBackRequest(NamedTuple):
    """No model answered, and why."""

    call_id: UUID
    error: str
    status_code: int | None = None
    latency_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OpenedCall:
    """The answer to one request to open. The last of a set carries the balance."""

    ordinal: int
    outcome: str
    facts: Facts | None
    replayed: bool
    reservation_id: UUID
    status: str
    amount: int
    expires_at: datetime
    version: int
    version_before: int
    state: str
    feature: str
    quality: str | None
    model: str
    provider: str
    provider_model_id: str
    price_version: int | None
    fallbacks: list[str]
    output_limit: int
    reserved_tokens: int
    streams_stop: bool
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class FellBack:
    """A call that another attempt is made for, or why not."""

    outcome: str
    facts: Facts | None
    attempt: int
    model: str
    provider: str
    provider_model_id: str
    price_version: int | None
    output_limit: int
    reserved_tokens: int
    amount: int
    version_before: int
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class Noted:
    """A call whose usage is kept until it can be charged."""

    state: str


@dataclass(frozen=True, slots=True)
class DueCall:
    """A call that no process is at work on, and what to charge for it."""

    account_id: UUID
    call_id: UUID
    state: str
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    usage_estimated: bool
    outcome: str
    status_code: int | None
    latency_ms: int | None
    occurred_at: datetime
    leased_until: datetime

    @property
    def request(self) -> CloseRequest:
        """What to close it with."""
        return CloseRequest(
            self.call_id,
            self.input_tokens,
            self.cached_input_tokens,
            self.output_tokens,
            self.usage_estimated,
            self.outcome,
            self.status_code,
            self.latency_ms,
            self.occurred_at,
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a call may be made, and what would help. `due`: look again after a catch-up."""

    is_allowed: bool
    reason: str | None
    plan_key: str | None
    plan_version: int | None
    quality: str | None
    model: str | None
    estimate: int | None
    spendable: int
    shortfall: int | None
    period_end: datetime
    due: bool
    limits: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    opening_plans: list[str]


@dataclass(frozen=True, slots=True)
class FeatureLimits:
    """An AI feature that a plan opens, and its limits; `reason`: why it is closed all the same."""

    feature: str
    name: str
    reason: str | None
    limits: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Charge:
    """Why a call cost what it did. Costs and prices are nanodollars, those of a million tokens."""

    call_id: UUID
    state: str
    outcome: str | None
    feature: str
    quality: str | None
    multiplier_basis_points: int | None
    plan_key: str
    plan_version: int
    is_stream: bool
    attempt: int
    model: str
    provider: str
    provider_model_id: str
    price_version: int | None
    input_nanodollars: int | None
    cached_input_nanodollars: int | None
    output_nanodollars: int | None
    credits_per_1k_tokens: int | None
    prompt_tokens: int
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    usage_estimated: bool | None
    cost_nanodollars: int | None
    exact_amount: int | None
    increment: int | None
    minimum_charge: int | None
    nanodollars_per_credit: int | None
    reserved_amount: int
    charged_amount: int | None
    refunded_amount: int
    overage: int | None
    version: int | None
    draws: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    end_customer_ref: str | None
    related_type: str | None
    related_id: str | None
    trace_id: str | None
    error: str | None
    status_code: int | None
    latency_ms: int | None
    opened_at: datetime
    closed_at: datetime | None
