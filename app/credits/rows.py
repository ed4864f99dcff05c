"""What the credits functions take and answer. Amounts are micro-credits.

Requests are named tuples in the order of the composite types they fill; rows are
dataclasses that name the columns they read. A house test compares both with Postgres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

Facts = Mapping[str, Any]


class Actor(NamedTuple):
    """Who did it, as it is now: the ledger keeps the snapshot."""

    kind: str
    id: str
    label: str


class ReserveRequest(NamedTuple):
    """Set `amount` aside for at most `ttl_seconds`."""

    idempotency_key: str
    amount: int
    ttl_seconds: int = 300
    feature: str | None = None
    quality: str | None = None
    model: str | None = None
    price_version: str | None = None
    end_customer_ref: str | None = None
    related_type: str | None = None
    related_id: str | None = None
    related_name: str | None = None
    actor: Actor | None = None
    metadata: Facts | None = None


class ExtendRequest(NamedTuple):
    """Hold at least `amount`, at least until `expires_at`; None keeps what is."""

    reservation_id: UUID
    amount: int | None = None
    expires_at: datetime | None = None


class SettleRequest(NamedTuple):
    """Charge `amount` and close the reservation; the rest tells what was used."""

    reservation_id: UUID | None
    amount: int | None
    operation: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usage_estimated: bool | None = None
    cost_nanodollars: int | None = None
    latency_ms: int | None = None
    status_code: int | None = None
    trace_id: str | None = None
    occurred_at: datetime | None = None
    actor: Actor | None = None
    metadata: Facts | None = None


class ReleaseRequest(NamedTuple):
    """Give the reserved credits back."""

    reservation_id: UUID
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """An account at one version. `db/functions/credits/_balance.sql` defines the figures."""

    account_id: UUID
    balance_version: int
    available: int
    reserved: int
    spendable: int
    overage: int
    overdraft_limit: int
    granted: int
    monthly: int
    bonus: int
    used_this_period: int
    remaining: int
    total: int
    usage_basis_points: int
    period_grant: int
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True, slots=True)
class Checked:
    """Whether an amount could be reserved; advice, not permission."""

    due: bool
    can_proceed: bool
    required: int
    shortfall: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Brought:
    """An account after a visit that may have changed it."""

    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Opened:
    """An account that was opened, or had been before."""

    replayed: bool
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Reserved:
    """The answer to one request to reserve. The last of a set carries the balance."""

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
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class Extended:
    """The answer to one request to extend. `version` is None where nothing changed."""

    ordinal: int
    outcome: str
    facts: Facts | None
    replayed: bool
    reservation_id: UUID
    status: str
    amount: int
    expires_at: datetime
    version: int | None
    version_before: int
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to one request to settle. `late` means the reservation had expired."""

    ordinal: int
    outcome: str
    facts: Facts | None
    replayed: bool
    reservation_id: UUID
    status: str
    amount: int
    settled_amount: int
    late: bool
    version: int
    version_before: int
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class Released:
    """The answer to one request to release."""

    ordinal: int
    outcome: str
    facts: Facts | None
    replayed: bool
    reservation_id: UUID
    status: str
    amount: int
    version: int
    version_before: int
    balance: Balance | None


@dataclass(frozen=True, slots=True)
class Deducted:
    """The answer to a deduction."""

    outcome: str
    facts: Facts | None
    amount: int
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant as it stands. `version` is None while it lies in the future."""

    grant_id: UUID
    state: str
    amount: int
    grant_remaining: int
    effective_at: datetime
    expires_at: datetime | None
    replayed: bool
    version: int | None
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Voided:
    """What a void took, what it turned into debt, and what is missing."""

    grant_id: UUID
    requested: int
    taken: int
    overage_added: int
    missing: int
    replayed: bool
    version: int | None
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Refunded:
    """The grants a refund made, and what could still be refunded."""

    refunded_version: int
    amount: int
    refundable: int
    grant_ids: list[UUID]
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Adjusted:
    """An administrator's adjustment; a grant where credits were put in."""

    amount: int
    grant_id: UUID | None
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Forgiven:
    """Debt that was let go."""

    amount: int
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class AllowanceSet:
    """When a new allowance takes effect."""

    takes_effect_at: datetime
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class TermsSet:
    """An account whose limits and allowance were set together."""

    takes_effect_at: datetime | None
    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class LimitsSet:
    """An account whose limits were set."""

    replayed: bool
    version: int
    version_before: int
    balance: Balance


@dataclass(frozen=True, slots=True)
class Policy:
    """The credit rules of a project and the terms new accounts begin with."""

    project_id: UUID
    nanodollars_per_credit: int
    increment: int
    minimum_charge: int
    period_grant: int
    welcome_grant: int
    rollover_cap: int
    overdraft_limit: int
    low_balance_percent: int
    clawback_creates_overage: bool
    settle_limit_factor: int
    settle_limit_floor: int


@dataclass(frozen=True, slots=True)
class ReadBalance:
    """A balance that was read; `due` if something has fallen due on its account since."""

    due: bool
    balance: Balance


@dataclass(frozen=True, slots=True)
class Overdue:
    """An account that waits for the sweep; `due` if more than reservations is."""

    account_id: UUID
    due: bool
