"""What tests of reservations share: an hour to stand in, and refusals proven whole."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from asyncpg import Record

from app.credits.rows import Balance
from db.driver import Connection
from tests.support.accounts import Accounts
from tests.support.clock import utc
from tests.support.refusals import refused_whole

NOW = utc("2026-03-10 10:00")
PERIOD_END = utc("2026-04-10 10:00")
LARGEST = 10**18

BAD_AMOUNT = {"field": "amount", "reason": "must be above 0 and at most 10^12 credits"}
BAD_KEY = {"field": "idempotencyKey", "reason": "must have 1 to 255 characters"}
BAD_SET = {"field": "requests", "reason": "must be 1 to 256 requests"}
BAD_USAGE = {"field": "usage", "reason": "must not be negative"}


@asynccontextmanager
async def refused(
    accounts: Accounts, code: str, facts: Mapping[str, Any] | None = None
) -> AsyncIterator[None]:
    """Prove the three things of a refusal: its code, its facts, and that nothing moved."""
    async with refused_whole(accounts.snapshot, code, facts or {}):
        yield


def balance(
    account_id: UUID,
    version: int,
    *,
    available: int = 0,
    reserved: int = 0,
    spendable: int = 0,
    overage: int = 0,
    overdraft_limit: int = 0,
    granted: int = 0,
    monthly: int = 0,
    bonus: int = 0,
    used_this_period: int = 0,
    remaining: int = 0,
    total: int = 0,
    usage_basis_points: int = 0,
    period_grant: int = 0,
) -> Balance:
    """Return a balance of an account opened at `NOW`: what is not named is zero."""
    return Balance(
        account_id=account_id,
        balance_version=version,
        available=available,
        reserved=reserved,
        spendable=spendable,
        overage=overage,
        overdraft_limit=overdraft_limit,
        granted=granted,
        monthly=monthly,
        bonus=bonus,
        used_this_period=used_this_period,
        remaining=remaining,
        total=total,
        usage_basis_points=usage_basis_points,
        period_grant=period_grant,
        period_start=NOW,
        period_end=PERIOD_END,
    )


def figures(balance: Balance | None) -> tuple[int, int, int]:
    """Return what a balance has available, reserved and owed."""
    assert balance is not None
    return balance.available, balance.reserved, balance.overage


async def reservation(admin: Connection, reservation_id: UUID) -> dict[str, Any]:
    """Return a reservation as it is stored."""
    row = await admin.fetchrow("select * from credits.reservations where id = $1", reservation_id)
    assert row is not None
    return dict(row)


async def ledger(admin: Connection, account_id: UUID, after: int = 0) -> list[Record]:
    """Return an account's ledger rows that are newer than a version, oldest first."""
    return await admin.fetch(
        "select * from credits.transactions where account_id = $1 and version > $2"
        " order by version",
        account_id,
        after,
    )


async def usage(admin: Connection, account_id: UUID) -> list[Record]:
    """Return an account's usage records, oldest first."""
    return await admin.fetch(
        "select * from usage.records where account_id = $1 order by version", account_id
    )


async def versions(admin: Connection, account_id: UUID) -> list[int]:
    """Return every version of an account that some row owns, in order, twins included.

    A settle owns one version, whether its ledger row or only its reservation tells it.
    """
    rows = await admin.fetch(
        """
        select version from credits.account_changes where account_id = $1
        union all
        select version from credits.transactions where account_id = $1
        union all
        select version from credits.reservation_extensions where account_id = $1
        union all
        select opened_version from credits.reservations where account_id = $1
        union all
        select v.version
        from credits.reservations as r
        cross join lateral (
            select r.closed_version as version union select r.settled_version
        ) as v
        where r.account_id = $1
            and v.version is not null
            and not exists (
                select from credits.transactions as t
                where t.account_id = $1 and t.version = v.version and t.reservation_id = r.id
            )
        order by version
        """,
        account_id,
    )
    return [row["version"] for row in rows]
