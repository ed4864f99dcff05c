"""What an account is made of: grants, reservations, rows of the ledger, events."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

CREDIT = 1_000_000
# What an unlimited account is granted at a time.
BLOCK = 1_000_000_000 * CREDIT
# The largest amount of one request, what may be granted in a lifetime, and what may be
# granted and owed together.
LARGEST = 10**18
LIFETIME = 9 * LARGEST
OWED_TOO = 92 * LARGEST // 10
NEVER = datetime.max.replace(tzinfo=UTC)

MONTHLY = {"plan_allocation", "plan_change", "rollover"}


class Refused(Exception):  # noqa: N818  # an expected no
    """An expected no, with its facts."""

    def __init__(self, code: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts or {}


@dataclass(frozen=True)
class Policy:
    """What of a project's policy counts after an account was opened."""

    clawback_creates_overage: bool = False
    settle_limit_factor: int = 100
    settle_limit_floor: int = 10_000 * CREDIT


@dataclass(eq=False)
class Grant:
    """Credits that were given. `id` is the database's, once it is known."""

    order: int
    operation: str
    source: str
    category: str
    priority: int
    amount: int
    effective_at: datetime
    expires_at: datetime | None
    created_at: datetime
    refund_of: int | None = None
    state: str = "scheduled"
    remaining: int = 0
    version: int | None = None
    forfeited: int = 0
    # What of it voids have asked back, and turned into debt.
    voided: int = 0
    owed: int = 0
    # What a smaller allowance took back of it.
    reduced: int = 0
    id: UUID | None = None

    @property
    def ends(self) -> datetime:
        """Return when it ends; those without an end come after all others."""
        return self.expires_at or NEVER

    @property
    def place(self) -> tuple[int, datetime, bool, datetime, int]:
        """Return its place in the draw-down order."""
        return (
            self.priority,
            self.ends,
            self.category == "paid",
            self.created_at,
            self.order,
        )


@dataclass(eq=False)
class Reservation:
    """Credits that are set aside. `id` is the database's, once it is known."""

    key: str
    asked: Any
    amount: int
    opened_at: datetime
    expires_at: datetime
    opened_version: int
    first: tuple[int, datetime]
    # Each time it was raised: when, under which version, and to what.
    extensions: list[tuple[datetime, int, int, datetime]] = field(default_factory=list)
    status: str = "pending"
    closed_version: int | None = None
    closed_at: datetime | None = None
    settled_version: int | None = None
    settled_amount: int | None = None
    id: UUID | None = None

    def held_before(self, at: datetime) -> int:
        """Return what it held before an instant at which it was open."""
        held = self.first[0]
        for when, _, amount, _ in self.extensions:
            if when < at:
                held = amount
        return held


@dataclass
class Entry:
    """A row of the ledger."""

    version: int
    type: str
    operation: str
    amount: int
    available_after: int
    reserved_after: int
    overage_after: int
    created_at: datetime
    drawn: list[tuple[Grant, int]] = field(default_factory=list)
    reservation: Reservation | None = None
    grant: Grant | None = None
    refund_of: int | None = None
    estimated: int | None = None


@dataclass
class Event:
    """A row of the outbox."""

    version: int
    type: str
    at: datetime
    payload: dict[str, Any]
    grant: Grant | None = None
