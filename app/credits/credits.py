"""`Credits`: one method for each SQL function of the credits domain."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from app.core.audit import Finding
from app.core.database import Database
from app.core.refusals import Refusal
from app.core.telemetry import CREDIT_OPERATIONS
from app.credits.rows import (
    Actor,
    Adjusted,
    AllowanceSet,
    Balance,
    Brought,
    Checked,
    Deducted,
    Extended,
    ExtendRequest,
    Facts,
    Forgiven,
    Granted,
    LimitsSet,
    Opened,
    Overdue,
    Policy,
    Refunded,
    Released,
    ReleaseRequest,
    Reserved,
    ReserveRequest,
    Settled,
    SettleRequest,
    TermsSet,
    Voided,
)

Answered = Reserved | Extended | Settled | Released
Moved = Granted | Voided | Refunded | Adjusted | Forgiven | AllowanceSet | LimitsSet | TermsSet

_A = TypeVar("_A", Reserved, Extended, Settled, Released)
_M = TypeVar("_M", bound=Moved)
_G = TypeVar("_G", Reserved, Extended, Settled, Released, Deducted)


class Listener(Protocol):
    """Who wants to know what a call changed, at once and without being waited for."""

    def moved(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        """Take the account's newest balance and the reservations that changed."""


class Credits:
    """Credits of organizations. An account's id is its organization's id."""

    def __init__(self, database: Database, listener: Listener | None = None) -> None:
        self._database = database
        self._listener = listener

    # Reservations: sets for one account, decided in turn, one answer each.

    async def reserve_set(
        self, account_id: UUID, requests: Sequence[ReserveRequest]
    ) -> list[Reserved]:
        """Set credits aside; each answer has its own outcome."""
        rows = await self._database.call(
            Reserved, "credits.reserve", p_account_id=account_id, p_requests=requests
        )
        return self._answered("reserve", rows)

    async def extend_set(
        self, account_id: UUID, requests: Sequence[ExtendRequest]
    ) -> list[Extended]:
        """Raise reservations; each answer has its own outcome."""
        rows = await self._database.call(
            Extended, "credits.extend", p_account_id=account_id, p_requests=requests
        )
        return self._answered("extend", rows)

    async def settle_set(
        self, account_id: UUID, requests: Sequence[SettleRequest]
    ) -> list[Settled]:
        """Charge what was used; each answer has its own outcome."""
        rows = await self._database.call(
            Settled, "credits.settle", p_account_id=account_id, p_requests=requests
        )
        return self._answered("settle", rows)

    async def release_set(
        self, account_id: UUID, requests: Sequence[ReleaseRequest]
    ) -> list[Released]:
        """Give reserved credits back; each answer has its own outcome."""
        rows = await self._database.call(
            Released, "credits.release", p_account_id=account_id, p_requests=requests
        )
        return self._answered("release", rows)

    async def reserve(self, account_id: UUID, request: ReserveRequest) -> Reserved:
        """Set credits aside, or refuse."""
        return _granted((await self.reserve_set(account_id, [request]))[0])

    async def extend(self, account_id: UUID, request: ExtendRequest) -> Extended:
        """Raise a reservation, or refuse."""
        return _granted((await self.extend_set(account_id, [request]))[0])

    async def settle(self, account_id: UUID, request: SettleRequest) -> Settled:
        """Charge what was used, or refuse."""
        return _granted((await self.settle_set(account_id, [request]))[0])

    async def release(self, account_id: UUID, request: ReleaseRequest) -> Released:
        """Give reserved credits back, or refuse."""
        return _granted((await self.release_set(account_id, [request]))[0])

    async def expire_reservations(self, account_id: UUID) -> Brought:
        """Expire reservations of an account that are past their time, at most 100."""
        row = await self._database.call_one(
            Brought, "credits.expire_reservations", p_account_id=account_id
        )
        self._tell(row.version_before, row.balance)
        return row

    # Charges and grants.

    async def deduct(
        self,
        account_id: UUID,
        amount: int,
        idempotency_key: str,
        *,
        feature: str | None = None,
        quality: str | None = None,
        model: str | None = None,
        price_version: str | None = None,
        end_customer_ref: str | None = None,
        related_type: str | None = None,
        related_id: str | None = None,
        related_name: str | None = None,
        usage: SettleRequest | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Deducted:
        """Charge for work that is done, or refuse."""
        row = await self._database.call_one(
            Deducted,
            "credits.deduct",
            p_account_id=account_id,
            p_amount=amount,
            p_idempotency_key=idempotency_key,
            p_feature=feature,
            p_quality=quality,
            p_model=model,
            p_price_version=price_version,
            p_end_customer_ref=end_customer_ref,
            p_related_type=related_type,
            p_related_id=related_id,
            p_related_name=related_name,
            p_usage=usage,
            p_reason=reason,
            p_actor=actor,
            p_metadata=metadata,
        )
        CREDIT_OPERATIONS.labels("deduct", _outcome(row)).inc()
        self._tell(row.version_before, row.balance)
        return _granted(row)

    async def issue_grant(
        self,
        account_id: UUID,
        amount: int,
        source: str,
        idempotency_key: str,
        *,
        category: str | None = None,
        priority: int = 50,
        effective_at: datetime | None = None,
        expires_at: datetime | None = None,
        source_ref: str | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Granted:
        """Give credits, at once or at a time to come."""
        return self._moved(
            "grant",
            await self._database.call_one(
                Granted,
                "credits.issue_grant",
                p_account_id=account_id,
                p_amount=amount,
                p_source=source,
                p_idempotency_key=idempotency_key,
                p_category=category,
                p_priority=priority,
                p_effective_at=effective_at,
                p_expires_at=expires_at,
                p_source_ref=source_ref,
                p_reason=reason,
                p_actor=actor,
                p_metadata=metadata,
            ),
        )

    async def void_grant(
        self,
        account_id: UUID,
        grant_id: UUID,
        idempotency_key: str,
        *,
        amount: int | None = None,
        missing_becomes_overage: bool = False,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> Voided:
        """Take a grant back as far as reservations leave it."""
        return self._moved(
            "void",
            await self._database.call_one(
                Voided,
                "credits.void_grant",
                p_account_id=account_id,
                p_grant_id=grant_id,
                p_idempotency_key=idempotency_key,
                p_amount=amount,
                p_missing_becomes_overage=missing_becomes_overage,
                p_reason=reason,
                p_actor=actor,
            ),
        )

    async def refund(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        reservation_id: UUID | None = None,
        version: int | None = None,
        amount: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> Refunded:
        """Give back what a call was charged; all of what is left unless told otherwise."""
        return self._moved(
            "refund",
            await self._database.call_one(
                Refunded,
                "credits.refund",
                p_account_id=account_id,
                p_idempotency_key=idempotency_key,
                p_reservation_id=reservation_id,
                p_version=version,
                p_amount=amount,
                p_reason=reason,
                p_actor=actor,
            ),
        )

    async def adjust(
        self,
        account_id: UUID,
        amount: int,
        idempotency_key: str,
        reason: str,
        *,
        expires_at: datetime | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Adjusted:
        """Put credits in or take credits out, by an administrator's word."""
        return self._moved(
            "adjust",
            await self._database.call_one(
                Adjusted,
                "credits.adjust",
                p_account_id=account_id,
                p_amount=amount,
                p_idempotency_key=idempotency_key,
                p_reason=reason,
                p_expires_at=expires_at,
                p_actor=actor,
                p_metadata=metadata,
            ),
        )

    async def forgive_overage(
        self,
        account_id: UUID,
        idempotency_key: str,
        reason: str,
        *,
        amount: int | None = None,
        actor: Actor | None = None,
    ) -> Forgiven:
        """Let debt go; all that is owed unless told otherwise."""
        return self._moved(
            "forgive_overage",
            await self._database.call_one(
                Forgiven,
                "credits.forgive_overage",
                p_account_id=account_id,
                p_idempotency_key=idempotency_key,
                p_reason=reason,
                p_amount=amount,
                p_actor=actor,
            ),
        )

    # Accounts and their terms.

    async def open_account(
        self,
        account_id: UUID,
        project_id: UUID,
        *,
        period_grant: int | None = None,
        welcome_grant: int | None = None,
        funded_until: datetime | None = None,
        actor: Actor | None = None,
    ) -> Opened:
        """Open an organization's account by its project's policy; again is no harm."""
        row = await self._database.call_one(
            Opened,
            "credits.open_account",
            p_account_id=account_id,
            p_project_id=project_id,
            p_period_grant=period_grant,
            p_welcome_grant=welcome_grant,
            p_funded_until=funded_until,
            p_actor=actor,
        )
        self._tell(row.version_before, row.balance)
        return row

    async def set_allowance(
        self,
        account_id: UUID,
        period_grant: int,
        idempotency_key: str,
        *,
        takes_effect: str = "now",
        rollover_cap: int | None = None,
        funded_until: datetime | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> AllowanceSet:
        """Set what an account is granted each month; -1 is unlimited, 0 none."""
        return self._moved(
            "set_allowance",
            await self._database.call_one(
                AllowanceSet,
                "credits.set_allowance",
                p_account_id=account_id,
                p_period_grant=period_grant,
                p_idempotency_key=idempotency_key,
                p_takes_effect=takes_effect,
                p_rollover_cap=rollover_cap,
                p_funded_until=funded_until,
                p_reason=reason,
                p_actor=actor,
            ),
        )

    async def set_limits(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> LimitsSet:
        """Set how far an account may go, and when it is said to run low."""
        return self._moved(
            "set_limits",
            await self._database.call_one(
                LimitsSet,
                "credits.set_limits",
                p_account_id=account_id,
                p_idempotency_key=idempotency_key,
                p_overdraft_limit=overdraft_limit,
                p_low_balance_percent=low_balance_percent,
                p_reason=reason,
                p_actor=actor,
            ),
        )

    async def set_terms(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        period_grant: int | None = None,
        takes_effect: str = "now",
        rollover_cap: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> TermsSet:
        """Set limits and allowance together or not at all; None keeps what is."""
        return self._moved(
            "set_terms",
            await self._database.call_one(
                TermsSet,
                "credits.set_terms",
                p_account_id=account_id,
                p_idempotency_key=idempotency_key,
                p_overdraft_limit=overdraft_limit,
                p_low_balance_percent=low_balance_percent,
                p_period_grant=period_grant,
                p_takes_effect=takes_effect,
                p_rollover_cap=rollover_cap,
                p_reason=reason,
                p_actor=actor,
            ),
        )

    async def set_policy(
        self,
        project_id: UUID,
        *,
        nanodollars_per_credit: int | None = None,
        increment: int | None = None,
        minimum_charge: int | None = None,
        period_grant: int | None = None,
        welcome_grant: int | None = None,
        rollover_cap: int | None = None,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        clawback_creates_overage: bool | None = None,
    ) -> Policy:
        """Set the credit rules of a project; None keeps what is."""
        return await self._database.call_one(
            Policy,
            "credits.set_policy",
            p_project_id=project_id,
            p_nanodollars_per_credit=nanodollars_per_credit,
            p_increment=increment,
            p_minimum_charge=minimum_charge,
            p_period_grant=period_grant,
            p_welcome_grant=welcome_grant,
            p_rollover_cap=rollover_cap,
            p_overdraft_limit=overdraft_limit,
            p_low_balance_percent=low_balance_percent,
            p_clawback_creates_overage=clawback_creates_overage,
        )

    # Reads.

    async def check_balance(self, account_id: UUID, required: int = 0) -> Checked:
        """Return the balance as of now and whether an amount could be reserved.

        What has come due since is worked first: a read is never behind time.
        """
        row = await self._check_balance(account_id, required)
        if row.due:
            await self.catch_up(account_id)
            row = await self._check_balance(account_id, required)
        return row

    async def _check_balance(self, account_id: UUID, required: int) -> Checked:
        return await self._database.call_one(
            Checked, "credits.check_balance", p_account_id=account_id, p_required=required
        )

    async def catch_up(self, account_id: UUID) -> Brought:
        """Work what has come due on an account."""
        row = await self._database.call_one(Brought, "credits.catch_up", p_account_id=account_id)
        self._tell(row.version_before, row.balance)
        return row

    async def newer_balances(self, known: dict[UUID, int]) -> list[Balance]:
        """Return the balances that are newer than the known versions."""
        return await self._database.call(
            Balance,
            "credits.newer_balances",
            p_account_ids=list(known),
            p_versions=list(known.values()),
        )

    async def find_overdue(self, limit: int = 100) -> list[Overdue]:
        """Return accounts that wait for the sweep."""
        return await self._database.call(Overdue, "credits.find_overdue", p_limit=limit)

    async def from_cost(self, project_id: UUID, cost_nanodollars: int) -> int:
        """Return what a provider's cost is in micro-credits, by the project's rounding."""
        amount: int = await self._database.value(
            "select credits.from_cost(p_project_id => $1, p_cost_nanodollars => $2)",
            project_id,
            cost_nanodollars,
        )
        return amount

    async def next_boundary(self, start: datetime, anchor_day: int) -> datetime:
        """Return the end of a credit period that begins at `start`."""
        boundary: datetime = await self._database.value(
            "select credits.next_boundary(p_from => $1, p_anchor_day => $2)", start, anchor_day
        )
        return boundary

    async def audit(self, account_id: UUID | None = None) -> list[Finding]:
        """Prove every invariant of an account, or of all; name the rows that break one."""
        return await self._database.call(Finding, "credits.audit", p_account_id=account_id)

    # What a call changed goes to the feed: the row is the event.

    def _answered(self, operation: str, rows: list[_A]) -> list[_A]:
        for row in rows:
            CREDIT_OPERATIONS.labels(operation, _outcome(row)).inc()
        last = rows[-1]
        if last.balance is not None:
            changed = [row for row in rows if row.outcome == "OK" and not row.replayed]
            self._tell(rows[0].version_before, last.balance, changed)
        return rows

    def _moved(self, operation: str, row: _M) -> _M:
        CREDIT_OPERATIONS.labels(operation, "replayed" if row.replayed else "ok").inc()
        self._tell(row.version_before, row.balance)
        return row

    def _tell(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered] = ()
    ) -> None:
        if self._listener is not None and balance.balance_version > version_before:
            self._listener.moved(version_before, balance, reservations)


def _outcome(row: Answered | Deducted) -> str:
    if row.outcome != "OK":
        return row.outcome.lower()
    return "replayed" if row.replayed else "ok"


def _granted(row: _G) -> _G:
    if row.outcome != "OK":
        raise Refusal(row.outcome, row.facts)
    return row
