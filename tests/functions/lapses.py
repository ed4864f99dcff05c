"""What tests of lapsed grants share: whole credits, and what grants have left."""

from datetime import datetime, timedelta
from uuid import UUID

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Balance
from db.driver import Connection
from tests.functions.books import NOW, figures
from tests.functions.grants import grants, moves, stored
from tests.support.accounts import CREDIT

HOUR = timedelta(hours=1)
DUE = NOW + HOUR
DAY_SECONDS = 86_400


async def reserve(
    credits: Credits, account: UUID, amount: int, key: str = "r", *, ttl_seconds: int = DAY_SECONDS
) -> UUID:
    """Reserve whole credits, for a day, and return the reservation."""
    row = await credits.reserve(account, ReserveRequest(key, amount * CREDIT, ttl_seconds))
    return row.reservation_id


async def settle(credits: Credits, account: UUID, reservation: UUID, amount: int) -> Balance:
    """Settle whole credits and return the balance after it."""
    row = await credits.settle(account, SettleRequest(reservation, amount * CREDIT))
    assert row.balance is not None
    return row.balance


async def release(credits: Credits, account: UUID, reservation: UUID) -> Balance:
    """Release a reservation and return the balance after it."""
    row = await credits.release(account, ReleaseRequest(reservation))
    assert row.balance is not None
    return row.balance


def whole(balance: Balance) -> tuple[int, int, int]:
    """Return what is available, reserved and owed, in credits."""
    available, reserved, overage = figures(balance)
    return available // CREDIT, reserved // CREDIT, overage // CREDIT


async def left(admin: Connection, account: UUID) -> list[tuple[str, int]]:
    """Return state and remaining credits of each grant, oldest first."""
    return [(state, remaining // CREDIT) for _, state, _, remaining in await grants(admin, account)]


async def lapsed(admin: Connection, account: UUID) -> int:
    """Return what lapsed grants keep, in credits."""
    kept: int = (await stored(admin, account))["lapsed"]
    return kept // CREDIT


async def expired(admin: Connection, account: UUID, after: int = 0) -> list[tuple[int, datetime]]:
    """Return what expired, in credits, and when, oldest first."""
    return [
        (-amount // CREDIT, at)
        for kind, amount, at in await moves(admin, account, after)
        if kind == "expiration"
    ]
