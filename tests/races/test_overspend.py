"""Crowds that do more than reserve: two accounts at once, and all that callers do.

That nobody spends a credit they do not have is proven in `tests/proof/overspend`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from uuid import UUID

import pytest

from app.core.database import Database, PoolLimits
from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Reserved
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.races import figures

CALLERS = 200
CONNECTIONS = 16


@pytest.fixture
async def crowded(servers: Servers, database_name: str) -> AsyncIterator[Credits]:
    """Credits over a pool that is much smaller than the crowd."""
    limits = PoolLimits(min_size=CONNECTIONS, max_size=CONNECTIONS, acquire_seconds=30)
    opened = await Database.connect(servers.app_url(database_name), limits)
    yield Credits(opened)
    await opened.close()


async def test_two_accounts_crossed_from_both_sides(crowded: Credits, accounts: Accounts) -> None:
    left, right = await accounts.open(120), await accounts.open(80)

    async def cross(number: int) -> list[Reserved]:
        there_and_back = (left, right) if number % 2 else (right, left)
        request = ReserveRequest(f"caller-{number}", CREDIT)
        return [
            row
            for account in there_and_back
            for row in await crowded.reserve_set(account, [request])
        ]

    rows = [row for answer in await asyncio.gather(*map(cross, range(CALLERS))) for row in answer]
    assert Counter(row.outcome for row in rows) == {
        "OK": 120 + 80,
        "INSUFFICIENT_CREDITS": 2 * CALLERS - 120 - 80,
    }
    assert figures(await accounts.balance(left)) == (0, 120 * CREDIT, 0)
    assert figures(await accounts.balance(right)) == (0, 80 * CREDIT, 0)


class Books:
    """What the callers of one account were told, added up by another hand."""

    def __init__(self) -> None:
        self.spent = 0
        self.reserved = 0
        self.changes = 0
        self.charges = 0

    def settled(self, amount: int) -> None:
        self.spent += amount
        self.changes += 1
        self.charges += amount > 0


async def call(number: int, account: UUID, credits: Credits, books: Books, seed: int) -> str:
    """Reserve, then do one of the things that callers do; write down what was answered."""
    random = Random(seed * CALLERS + number)
    amount = random.randint(1, 3 * CREDIT)
    [held] = await credits.reserve_set(account, [ReserveRequest(f"caller-{number}", amount)])
    if held.outcome != "OK":
        return held.outcome
    books.changes += 1
    settle = SettleRequest(held.reservation_id, random.randint(0, 2 * amount))
    release = ReleaseRequest(held.reservation_id)
    deed = random.choice(["settle", "settle twice", "settle or release", "release", "keep"])

    if deed == "keep":
        books.reserved += amount
    elif deed == "release":
        await credits.release(account, release)
        books.changes += 1
    elif deed == "settle":
        books.settled((await credits.settle(account, settle)).settled_amount)
    elif deed == "settle twice":
        twice = await asyncio.gather(
            credits.settle(account, settle), credits.settle(account, settle)
        )
        assert sorted(row.replayed for row in twice) == [False, True]
        books.settled(twice[0].settled_amount)
    else:
        [[settled], [released]] = await asyncio.gather(
            credits.settle_set(account, [settle]), credits.release_set(account, [release])
        )
        assert (settled.outcome, released.outcome) in {
            ("OK", "RESERVATION_SETTLED"),
            ("RESERVATION_RELEASED", "OK"),
        }
        if settled.outcome == "OK":
            books.settled(settled.settled_amount)
        else:
            books.changes += 1
    return deed


@pytest.mark.parametrize("seed", range(5))
async def test_the_books_balance_after_mixed_traffic(
    seed: int, crowded: Credits, accounts: Accounts
) -> None:
    opening = 100 * CREDIT
    account = await accounts.open(100)
    books = Books()
    deeds = Counter(
        await asyncio.gather(
            *(call(number, account, crowded, books, seed) for number in range(CALLERS))
        )
    )
    # Who was refused depends on who came first; that everything happened does not.
    assert set(deeds) == {
        "settle",
        "settle twice",
        "settle or release",
        "release",
        "keep",
        "INSUFFICIENT_CREDITS",
    }
    balance = await accounts.balance(account)
    assert balance.reserved == books.reserved
    assert balance.used_this_period == books.spent
    assert balance.available - balance.overage == opening - books.spent - books.reserved
    # Opened, granted, and then one version for each change that was answered.
    assert balance.balance_version == 2 + books.changes
    ledger = (await accounts.snapshot())["credits.transactions"]
    charges = [row["amount"] for row in ledger if row["type"] == "consumption"]
    assert (len(charges), sum(charges)) == (books.charges, -books.spent)
