"""What tests of grants, terms and time share: how to read what an account was given."""

import calendar
from datetime import UTC, datetime, time
from typing import Any
from uuid import UUID

from asyncpg import Record

from app.credits import Credits
from app.credits.rows import Voided
from db.driver import Connection
from tests.support.accounts import CREDIT


def boundaries(year: int, anchor_day: int, at: time, months: int) -> list[datetime]:
    """Return the boundaries from January on, each counted from the anchor alone."""
    return [
        datetime.combine(
            datetime(y, m, min(anchor_day, calendar.monthrange(y, m)[1]), tzinfo=UTC), at, UTC
        )
        for y, m in ((year + n // 12, n % 12 + 1) for n in range(months))
    ]


async def grant(admin: Connection, grant_id: UUID) -> dict[str, Any]:
    """Return a grant as it is stored."""
    row = await admin.fetchrow("select * from credits.grants where id = $1", grant_id)
    assert row is not None
    return dict(row)


async def grants(admin: Connection, account_id: UUID) -> list[tuple[str, str, int, int]]:
    """Return source, state, amount and remaining of each grant, oldest first."""
    rows = await admin.fetch(
        "select source, state, amount, remaining from credits.grants"
        " where account_id = $1 order by id",
        account_id,
    )
    return [tuple(row) for row in rows]


async def moves(
    admin: Connection, account_id: UUID, after: int = 0
) -> list[tuple[str, int, datetime]]:
    """Return type, amount and time of the ledger rows newer than a version."""
    rows = await admin.fetch(
        "select type, amount, created_at from credits.transactions"
        " where account_id = $1 and version > $2 order by version",
        account_id,
        after,
    )
    return [tuple(row) for row in rows]


async def changes(admin: Connection, account_id: UUID, operation: str) -> list[Record]:
    """Return the changes an operation made to an account's terms, oldest first."""
    return await admin.fetch(
        "select * from credits.account_changes where account_id = $1 and operation = $2"
        " order by version",
        account_id,
        operation,
    )


async def stored(admin: Connection, account_id: UUID) -> dict[str, Any]:
    """Return an account's row."""
    row = await admin.fetchrow("select * from credits.accounts where account_id = $1", account_id)
    assert row is not None
    return dict(row)


async def top_up(
    credits: Credits,
    account_id: UUID,
    amount: int,
    key: str,
    *,
    expires_at: datetime | None = None,
    category: str | None = None,
) -> UUID:
    """Give whole credits as a top-up and return the grant."""
    row = await credits.issue_grant(
        account_id, amount * CREDIT, "top_up", key, expires_at=expires_at, category=category
    )
    return row.grant_id


def parts(row: Voided) -> tuple[int, int, int, int]:
    """Return what was asked, taken, owed and missing, in whole credits."""
    return (
        row.requested // CREDIT,
        row.taken // CREDIT,
        row.overage_added // CREDIT,
        row.missing // CREDIT,
    )
