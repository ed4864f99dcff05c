"""Pages of grants, reservations and the ledger. Newest first, by key, never by offset."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from app.core.database import Database
from app.credits.rows import Facts

PAGE_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Transaction:
    """One row of the ledger."""

    account_id: UUID
    version: int
    type: str
    operation: str
    amount: int
    available_after: int
    reserved_after: int
    overage_after: int
    reservation_id: UUID | None
    grant_id: UUID | None
    refund_of: int | None
    estimated: int | None
    drawn_grant_ids: list[UUID] | None
    drawn_amounts: list[int] | None
    idempotency_key: str | None
    reason: str | None
    feature: str | None
    quality: str | None
    model: str | None
    price_version: str | None
    end_customer_ref: str | None
    related_type: str | None
    related_id: str | None
    related_name: str | None
    actor_kind: str | None
    actor_id: str | None
    actor_label: str | None
    metadata: Facts | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant."""

    account_id: UUID
    id: UUID
    source: str
    category: str
    pool: str
    priority: int
    amount: int
    remaining: int
    state: str
    effective_at: datetime
    expires_at: datetime | None
    source_ref: str | None
    reason: str | None
    idempotency_key: str | None
    actor_kind: str | None
    actor_id: str | None
    actor_label: str | None
    metadata: Facts | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation."""

    account_id: UUID
    id: UUID
    status: str
    amount: int
    settled_amount: int | None
    idempotency_key: str
    opened_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    opened_version: int
    closed_version: int | None
    release_reason: str | None
    feature: str | None
    quality: str | None
    model: str | None
    price_version: str | None
    end_customer_ref: str | None
    related_type: str | None
    related_id: str | None
    related_name: str | None
    actor_kind: str | None
    actor_id: str | None
    actor_label: str | None
    metadata: Facts | None


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which ledger rows; what is None does not narrow."""

    types: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    feature: str | None = None
    reservation_id: UUID | None = None
    end_customer_ref: str | None = None


_Row = TypeVar("_Row")

_TRANSACTIONS = """
    from credits.transactions as t
    where t.account_id = $1
        and ($2::text[] is null or t.type = any($2))
        and ($3::timestamptz is null or t.created_at >= $3)
        and ($4::timestamptz is null or t.created_at < $4)
        and ($5::text is null or t.feature = $5)
        and ($6::uuid is null or t.reservation_id = $6)
        and ($7::text is null or t.end_customer_ref = $7)
"""
_GRANTS = """
    from credits.grants as t
    where t.account_id = $1
        and ($2::text[] is null or t.state = any($2))
        and ($3::text[] is null or t.source = any($3))
"""
_RESERVATIONS = """
    from credits.reservations as t
    where t.account_id = $1
        and ($2::text[] is null or t.status = any($2))
        and ($3::text is null or t.feature = $3)
"""


class CreditReads:
    """Reads of the credits domain that page through rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transactions(
        self,
        account_id: UUID,
        narrowed: TransactionFilter,
        *,
        before_version: int | None = None,
        limit: int = PAGE_LIMIT,
    ) -> list[Transaction]:
        """Return ledger rows, newest first."""
        arguments = (account_id, *_narrowing(narrowed))
        return await self._page(
            Transaction,
            f"{_TRANSACTIONS} and ($8::bigint is null or t.version < $8)"
            " order by t.version desc limit $9",
            *arguments,
            before_version,
            limit,
        )

    async def transactions_since(
        self, account_id: UUID, version: int, limit: int = PAGE_LIMIT
    ) -> list[Transaction]:
        """Return ledger rows above a version, oldest first: for who must miss nothing."""
        return await self._page(
            Transaction,
            "from credits.transactions as t where t.account_id = $1 and t.version > $2"
            " order by t.version limit $3",
            account_id,
            version,
            limit,
        )

    async def count_transactions(self, account_id: UUID, narrowed: TransactionFilter) -> int:
        """Return how many ledger rows a filter leaves."""
        return await self._count(_TRANSACTIONS, account_id, *_narrowing(narrowed))

    async def grants(
        self,
        account_id: UUID,
        states: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        *,
        before_id: UUID | None = None,
        limit: int = PAGE_LIMIT,
    ) -> list[Grant]:
        """Return grants, newest first."""
        return await self._page(
            Grant,
            f"{_GRANTS} and ($4::uuid is null or t.id < $4) order by t.id desc limit $5",
            account_id,
            states,
            sources,
            before_id,
            limit,
        )

    async def count_grants(
        self,
        account_id: UUID,
        states: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
    ) -> int:
        """Return how many grants a filter leaves."""
        return await self._count(_GRANTS, account_id, states, sources)

    async def reservations(
        self,
        account_id: UUID,
        statuses: Sequence[str] | None = None,
        feature: str | None = None,
        *,
        before_id: UUID | None = None,
        limit: int = PAGE_LIMIT,
    ) -> list[Reservation]:
        """Return reservations, newest first."""
        return await self._page(
            Reservation,
            f"{_RESERVATIONS} and ($4::uuid is null or t.id < $4) order by t.id desc limit $5",
            account_id,
            statuses,
            feature,
            before_id,
            limit,
        )

    async def count_reservations(
        self,
        account_id: UUID,
        statuses: Sequence[str] | None = None,
        feature: str | None = None,
    ) -> int:
        """Return how many reservations a filter leaves."""
        return await self._count(_RESERVATIONS, account_id, statuses, feature)

    async def reservations_by_id(self, account_id: UUID, ids: Sequence[UUID]) -> list[Reservation]:
        """Return the named reservations that exist."""
        return await self._page(
            Reservation,
            "from credits.reservations as t where t.account_id = $1 and t.id = any($2)"
            " order by t.id",
            account_id,
            list(ids),
        )

    async def count_pending(self) -> int:
        """Return how many reservations are open, over all accounts."""
        count: int = await self._database.value(
            "select count(*) from credits.reservations where status = 'pending'"
        )
        return count

    async def _page(self, row: type[_Row], tail: str, *arguments: Any) -> list[_Row]:
        columns = ", ".join(f"t.{f.name}" for f in fields(row))  # type: ignore[arg-type]
        # Names of our own columns; every value is bound.
        records = await self._database.fetch(f"select {columns} {tail}", *arguments)
        return [row(*record) for record in records]

    async def _count(self, tail: str, *arguments: Any) -> int:
        count: int = await self._database.value(f"select count(*) {tail}", *arguments)
        return count


def _narrowing(narrowed: TransactionFilter) -> tuple[Any, ...]:
    return (
        narrowed.types,
        narrowed.since,
        narrowed.until,
        narrowed.feature,
        narrowed.reservation_id,
        narrowed.end_customer_ref,
    )
