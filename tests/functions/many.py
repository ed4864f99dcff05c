"""What tests of calls on many accounts share: who was decided, and that of others nothing moved."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.core.database import Database
from app.credits import Credits, ReserveRequest
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.grants import top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)
DAY_SECONDS = 86_400
UNKNOWN = UUID(int=7)


@dataclass(frozen=True, slots=True)
class World:
    """All that a case needs to bring an account into a state."""

    credits: Credits
    accounts: Accounts
    clock: Clock
    admin: Connection

    async def hold(self, account: UUID, amount: int, key: str = "held") -> UUID:
        """Reserve micro-credits for a day."""
        row = await self.credits.reserve(account, ReserveRequest(key, amount, DAY_SECONDS))
        return row.reservation_id

    async def due(self) -> UUID:
        """Return an account on which a grant ends at this very moment."""
        account = await self.accounts.open(10)
        await top_up(self.credits, account, 5, "ends", expires_at=NOW + HOUR)
        return account

    async def indebted(self) -> tuple[UUID, UUID]:
        """Return an account that owes, and its reservation of 15 credits."""
        account = await self.accounts.open(10, overdraft=10)
        return account, await self.hold(account, 15 * CREDIT)

    async def lapsing(self) -> UUID:
        """Return an account of which a grant has ended that a reservation still holds."""
        account = await self.accounts.open(10)
        await top_up(self.credits, account, 5, "ends", expires_at=NOW + HOUR)
        await self.hold(account, 4 * CREDIT, "keeps")
        await self.clock.set(NOW + HOUR)
        await self.credits.catch_up(account)
        [lapsed] = await self.admin.fetch(
            "select lapsed from credits.accounts where account_id = $1", account
        )
        assert lapsed["lapsed"] == 4 * CREDIT
        return account


class Case(NamedTuple):
    """Requests for one account which are not plain."""

    account: UUID
    requests: Sequence[Any]


Spoil = Callable[[World], Awaitable[Case]]
Many = Callable[[Sequence[UUID], Sequence[Any]], Awaitable[list[Any]]]


def of(snapshot: dict[str, list[Any]], account: UUID) -> dict[str, list[Any]]:
    """Return what a snapshot has of one account."""
    return {
        table: [row for row in rows if row["account_id"] == account]
        for table, rows in snapshot.items()
    }


async def left_alone(world: World, many: Many, case: Case, good: Case) -> None:
    """Prove that of one account nothing is decided or moved, and its neighbour is decided.

    The neighbour's requests stand between those of the other.
    """
    ids = [case.account, *len(good.requests) * [good.account]]
    ids += (len(case.requests) - 1) * [case.account]
    requests = [case.requests[0], *good.requests, *case.requests[1:]]
    before = await world.accounts.snapshot()
    answers = await many(ids, requests)
    after = await world.accounts.snapshot()
    assert of(after, case.account) == of(before, case.account)
    assert of(after, good.account) != of(before, good.account)
    decided = [answer is not None and answer.outcome == "OK" for answer in answers]
    assert decided == [account == good.account for account in ids]


async def rows(
    database: Database, row: type[Any], function: str, ids: Sequence[Any], requests: Sequence[Any]
) -> list[Any]:
    """Call a function of many accounts and return its rows as they are."""
    return await database.call(row, f"credits.{function}", p_account_ids=ids, p_requests=requests)
