"""An account as the written rules have it, and the few moves that all else is made of."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.credits.rows import Balance
from tests.proof.model.shapes import (
    LIFETIME,
    MONTHLY,
    NEVER,
    Entry,
    Event,
    Grant,
    Policy,
    Reservation,
)


@dataclass
class Account:
    """One account: what it has, what it was given, what it holds, and all that happened."""

    id: UUID
    policy: Policy
    period_start: datetime
    period_end: datetime
    anchor_day: int
    clock_at: datetime
    available: int = 0
    reserved: int = 0
    overage: int = 0
    overdraft_limit: int = 0
    granted_total: int = 0
    spent_total: int = 0
    expired_total: int = 0
    clawed_back_total: int = 0
    spent_at_period_start: int = 0
    period_grant: int = 0
    rollover_cap: int = 0
    pending: tuple[int, int] | None = None
    funded_until: datetime | None = None
    rollover_withheld: int = 0
    low_balance_percent: int = 20
    minimum_charge: int = 250_000
    # When it is looked after next: a grant that is used up before its end does not move it.
    due_at: datetime = NEVER
    level: str = "depleted"
    version: int = 0
    grants: list[Grant] = field(default_factory=list)
    # Those that are not used up, and the reservations that are open.
    open_grants: list[Grant] = field(default_factory=list)
    held: list[Reservation] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    changes: list[tuple[int, str, datetime]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    # By operation and key: the request, and what its replay needs.
    keys: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)

    # Figures.

    @property
    def spendable(self) -> int:
        return max(0, self.available + self.overdraft_limit - self.overage)

    @property
    def is_unlimited(self) -> bool:
        return self.period_grant == -1

    @property
    def is_funded(self) -> bool:
        """Whether the present period is paid for."""
        return self.funded_until is None or self.period_start < self.funded_until

    @property
    def room(self) -> int:
        """Return what may still be granted: grants to come have taken theirs already."""
        to_come = sum(g.amount for g in self.open_grants if g.state == "scheduled")
        return LIFETIME - self.granted_total - to_come

    @property
    def unfunded(self) -> int:
        """Return what was spent with no grant behind it: true debt."""
        left = sum(g.remaining for g in self.open_grants if g.state != "scheduled")
        return left + self.overage - self.available - self.reserved

    def pool(self, *, monthly: bool) -> int:
        return sum(
            g.remaining
            for g in self.open_grants
            if g.state != "scheduled" and (g.source in MONTHLY) == monthly
        )

    def line(self) -> list[Grant]:
        """Return what can be drawn, in draw-down order."""
        return sorted((g for g in self.open_grants if g.state == "live"), key=lambda g: g.place)

    def lapsed(self) -> list[Grant]:
        """Return what is kept for reservations, the first that ended first."""
        kept = (g for g in self.open_grants if g.state == "lapsed")
        return sorted(kept, key=lambda g: (g.ends, g.place))

    def next_due(self) -> datetime:
        """Return when something falls due next."""
        begins = [g.effective_at for g in self.open_grants if g.state == "scheduled"]
        ends = [g.ends for g in self.open_grants if g.state == "live"]
        return min([self.period_end, *begins, *ends])

    def balance(self) -> Balance:
        used = self.spent_total - self.spent_at_period_start
        remaining = max(0, self.available + self.reserved - self.overage)
        total = used + remaining
        monthly, bonus = self.pool(monthly=True), self.pool(monthly=False)
        return Balance(
            account_id=self.id,
            balance_version=self.version,
            available=self.available,
            reserved=self.reserved,
            spendable=self.spendable,
            overage=self.overage,
            overdraft_limit=self.overdraft_limit,
            granted=monthly + bonus,
            monthly=monthly,
            bonus=bonus,
            used_this_period=used,
            remaining=remaining,
            total=total,
            usage_basis_points=used * 10_000 // total if total else 0,
            period_grant=self.period_grant,
            period_start=self.period_start,
            period_end=self.period_end,
        )

    # Moves.

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def receive(self, amount: int) -> None:
        """Credits arrive or return: they pay what is owed first."""
        paid = min(self.overage, amount)
        self.overage -= paid
        self.available += amount - paid

    def charge(self, amount: int) -> None:
        """Credits leave: what is not available is owed."""
        taken = min(self.available, amount)
        self.available -= taken
        self.overage += amount - taken

    def write(self, kind: str, operation: str, amount: int, at: datetime, **more: Any) -> Entry:
        """Add a row to the ledger, under a version of its own."""
        entry = Entry(
            self.next_version(),
            kind,
            operation,
            amount,
            self.available,
            self.reserved,
            self.overage,
            at,
            **more,
        )
        self.ledger.append(entry)
        return entry

    def note(self, operation: str, at: datetime) -> int:
        """Write down a change that moved no credits, under a version of its own."""
        self.changes.append((self.next_version(), operation, at))
        return self.version

    def use(self, grant: Grant, amount: int, *, forfeits: bool = False) -> None:
        """Take from what a grant has left; used up, it is closed."""
        grant.remaining -= amount
        if forfeits:
            grant.forfeited += amount
        if grant.remaining == 0:
            grant.state = "closed"
            self.open_grants.remove(grant)

    def draw(
        self, amount: int, opened_at: datetime | None = None, *, forfeits: bool = False
    ) -> list[tuple[Grant, int]]:
        """Draw an amount; what was kept goes first, for whoever was open before it lapsed."""
        kept = [g for g in self.lapsed() if opened_at is not None and opened_at < g.ends]
        drawn = []
        for grant in kept + self.line():
            if amount == 0:
                break
            part = min(amount, grant.remaining)
            self.use(grant, part, forfeits=forfeits)
            drawn.append((grant, part))
            amount -= part
        return drawn

    def kept(self, grant: Grant) -> int:
        """Return how much of a grant open reservations hold: the first of the line."""
        before = sum(g.remaining for g in self.lapsed())
        for other in self.line():
            if other is grant:
                break
            before += other.remaining
        return min(grant.remaining, max(0, self.reserved - before))

    def give(
        self,
        operation: str,
        source: str,
        category: str,
        priority: int,
        amount: int,
        at: datetime,
        expires_at: datetime | None,
        *,
        effective_at: datetime | None = None,
        refund_of: int | None = None,
    ) -> Grant:
        """Add a grant; it counts once it takes effect."""
        grant = Grant(
            len(self.grants),
            operation,
            source,
            category,
            priority,
            amount,
            max(effective_at or at, at),
            expires_at,
            at,
            refund_of,
            remaining=amount,
        )
        self.grants.append(grant)
        self.open_grants.append(grant)
        if grant.effective_at <= at:
            self.activate(grant, at)
        self.due_at = self.next_due()
        return grant

    def activate(self, grant: Grant, at: datetime) -> None:
        """A grant takes effect: it pays debt, of which it is drawn for what was spent."""
        drawn = min(grant.amount, self.unfunded)
        grant.state = "live"
        self.granted_total += grant.amount
        self.receive(grant.amount)
        entry = self.write(
            grant.source,
            grant.operation,
            grant.amount,
            at,
            grant=grant,
            refund_of=grant.refund_of,
            drawn=[(grant, drawn)] if drawn else [],
        )
        grant.version = entry.version
        if drawn:
            self.use(grant, drawn)
        told = {"amount": grant.amount, "source": grant.source}
        self.events.append(Event(entry.version, "credits.granted", at, told, grant))

    def give_month(self, source: str, operation: str, amount: int, at: datetime) -> None:
        """Give part of a month; it ends with the period."""
        self.give(operation, source, "paid", 10, amount, at, self.period_end)

    def take(self, grant: Grant, amount: int, kind: str, operation: str, at: datetime) -> None:
        """Part of a grant expires or is taken back, unused."""
        self.charge(amount)
        if kind == "expiration":
            self.expired_total += amount
        else:
            self.clawed_back_total += amount
        self.use(grant, amount, forfeits=True)
        self.write(kind, operation, -amount, at, grant=grant, drawn=[(grant, amount)])

    def close(self, reservation: Reservation, status: str, at: datetime) -> None:
        """A reservation gives back what it held, under a version of its own."""
        self.held.remove(reservation)
        self.reserved -= reservation.amount
        self.receive(reservation.amount)
        reservation.status = status
        reservation.closed_at = at
        reservation.closed_version = self.next_version()

    def lapse(self, at: datetime) -> None:
        """What is kept for no open reservation any more expires."""
        before = 0
        for grant in self.lapsed():
            wanted = sum(r.held_before(grant.ends) for r in self.held if r.opened_at < grant.ends)
            kept = min(grant.remaining, max(0, wanted - before))
            before += kept
            if grant.remaining > kept:
                self.take(grant, grant.remaining - kept, "expiration", "lapse", at)

    def expire_overdue(self, at: datetime) -> None:
        """Reservations that are past their time give back what they held."""
        late = [r for r in self.held if r.expires_at <= at]
        for reservation in sorted(late, key=lambda r: (r.expires_at, r.opened_version)):
            self.close(reservation, "expired", at)
        if late:
            self.lapse(at)

    def note_level(self, at: datetime) -> None:
        """Tell, once for each fall, that an account runs low or has run out."""
        before = self.level
        remaining = self.available + self.reserved - self.overage
        threshold = self.period_grant * self.low_balance_percent // 100
        if self.is_unlimited:
            self.level = "ample"
        elif remaining + self.overdraft_limit < self.minimum_charge:
            self.level = "depleted"
        elif remaining < threshold and threshold > 0:
            self.level = "low"
        else:
            self.level = "ample"
        if self.level == "depleted" != before:
            told = {"remaining": remaining}
            self.events.append(Event(self.version, "credits.depleted", at, told))
        elif (before, self.level) == ("ample", "low"):
            told = {"remaining": remaining, "threshold": threshold}
            self.events.append(Event(self.version, "credits.low_balance", at, told))
