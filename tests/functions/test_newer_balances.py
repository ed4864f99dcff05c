"""credits.newer_balances: what a lost push left behind."""

from uuid import uuid4

from app.core.database import Database
from app.credits import Credits, ReserveRequest
from app.credits.rows import Balance
from tests.functions.books import NOW, balance
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_only_balances_that_are_newer_than_known_are_told(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    older, same, newer, unasked = [await accounts.open(10) for _ in range(4)]
    for account in (older, same, unasked):
        await credits.reserve(account, ReserveRequest("k", 4 * CREDIT))
    before = await accounts.snapshot()
    rows = await credits.newer_balances({older: 2, same: 3, newer: 3, uuid4(): 0})
    assert rows == [
        balance(
            older,
            3,
            available=6 * CREDIT,
            reserved=4 * CREDIT,
            spendable=6 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        )
    ]
    assert await accounts.snapshot() == before


async def test_every_account_that_moved_is_told(credits: Credits, accounts: Accounts) -> None:
    opened = [await accounts.open(n + 1) for n in range(5)]
    rows = await credits.newer_balances(dict.fromkeys(opened, 1))
    assert {row.account_id: row.available for row in rows} == {
        account: (n + 1) * CREDIT for n, account in enumerate(opened)
    }
    assert await credits.newer_balances({row.account_id: row.balance_version for row in rows}) == []


async def test_nobody_asked_nobody_told(credits: Credits, accounts: Accounts) -> None:
    await accounts.open(10)
    assert await credits.newer_balances({}) == []


async def test_the_same_figures_as_the_call_that_moved_them(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, allowance=5, overdraft=3)
    moved = await credits.deduct(account, 17 * CREDIT, "d")
    assert await credits.newer_balances({account: moved.version_before}) == [moved.balance]


async def test_a_version_that_is_missing_tells_nothing(
    database: Database, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    rows = await database.call(
        Balance, "credits.newer_balances", p_account_ids=[account], p_versions=[]
    )
    assert rows == []
