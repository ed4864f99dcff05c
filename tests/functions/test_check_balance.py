"""credits.check_balance: advice, not permission."""

from datetime import timedelta
from uuid import uuid4

import pytest

from app.core.database import Database
from app.credits import Credits, ReserveRequest
from app.credits.rows import Checked
from tests.functions.books import LARGEST, NOW, PERIOD_END, balance, refused
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_check_balance_tells_the_balance_and_moves_nothing(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5, allowance=10, overdraft=3)
    await credits.deduct(account, 4 * CREDIT, "d")
    await credits.reserve(account, ReserveRequest("r", 2 * CREDIT))
    before = await accounts.snapshot()
    row = await credits.check_balance(account, 12 * CREDIT)
    assert row == Checked(
        due=False,
        can_proceed=True,
        required=12 * CREDIT,
        shortfall=0,
        balance=balance(
            account,
            5,
            available=9 * CREDIT,
            reserved=2 * CREDIT,
            spendable=12 * CREDIT,
            overdraft_limit=3 * CREDIT,
            granted=11 * CREDIT,
            monthly=6 * CREDIT,
            bonus=5 * CREDIT,
            used_this_period=4 * CREDIT,
            remaining=11 * CREDIT,
            total=15 * CREDIT,
            usage_basis_points=2_666,
            period_grant=10 * CREDIT,
        ),
    )
    assert await accounts.snapshot() == before


async def test_what_can_be_spent_can_proceed_and_not_a_micro_credit_more(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10, overdraft=5)
    expected = [
        (-1, True, 0),
        (0, True, 0),
        (15 * CREDIT, True, 0),
        (15 * CREDIT + 1, False, 1),
        (LARGEST, False, LARGEST - 15 * CREDIT),
    ]
    for required, can_proceed, shortfall in expected:
        with subtests.test(required=required):
            row = await credits.check_balance(account, required)
            assert (row.can_proceed, row.shortfall) == (can_proceed, shortfall)
            assert row.required == required


async def test_an_account_in_debt_beyond_its_limit_has_nothing_to_spend(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    await credits.deduct(account, 15 * CREDIT, "d")
    await credits.set_limits(account, "lower", overdraft_limit=CREDIT)
    nothing = await credits.check_balance(account)
    assert (nothing.can_proceed, nothing.shortfall, nothing.balance.spendable) == (True, 0, 0)
    # Used 15, nothing remains: all of the total is used.
    assert (nothing.balance.remaining, nothing.balance.usage_basis_points) == (0, 10_000)
    something = await credits.check_balance(account, 1)
    assert (something.can_proceed, something.shortfall) == (False, 1)


async def test_an_unlimited_account_can_always_proceed(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(allowance=-1)
    row = await credits.check_balance(account, LARGEST)
    assert (row.can_proceed, row.shortfall, row.balance.period_grant) == (True, 0, -1)


async def test_an_unlimited_account_that_is_not_paid_for_proceeds_with_what_it_has(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(3, allowance=-1)
    await credits.set_allowance(account, -1, "until", funded_until=PERIOD_END)
    await clock.set(PERIOD_END)
    row = await credits.check_balance(account, 3 * CREDIT)
    assert (row.can_proceed, row.shortfall) == (True, 0)
    row = await credits.check_balance(account, 3 * CREDIT + 1)
    assert (row.can_proceed, row.shortfall) == (False, 1)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 3 * CREDIT + 1, "spendable": 3 * CREDIT, "shortfall": 1},
    ):
        await credits.reserve(account, ReserveRequest("k", 3 * CREDIT + 1))


async def test_an_empty_account_is_all_zeros(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    row = await credits.check_balance(account, 1)
    assert row == Checked(
        due=False, can_proceed=False, required=1, shortfall=1, balance=balance(account, 1)
    )


async def test_check_balance_itself_only_says_that_something_is_due(
    credits: Credits, database: Database, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await credits.deduct(account, 4 * CREDIT, "d")
    before = await accounts.snapshot()
    due = []
    for at in (PERIOD_END - timedelta(microseconds=1), PERIOD_END):
        await clock.set(at)
        row = await database.call_one(Checked, "credits.check_balance", p_account_id=account)
        assert row.balance.available == 6 * CREDIT
        due.append(row.due)
    assert due == [False, True]
    assert await accounts.snapshot() == before


async def test_a_check_through_credits_is_never_behind_time(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await credits.deduct(account, 4 * CREDIT, "d")
    await clock.set(PERIOD_END)
    row = await credits.check_balance(account, 10 * CREDIT)
    assert (row.due, row.can_proceed, row.shortfall) == (False, True, 0)
    assert (row.balance.available, row.balance.used_this_period) == (10 * CREDIT, 0)
    assert row.balance.period_start == PERIOD_END


async def test_an_unknown_account_is_refused(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.check_balance(account)
