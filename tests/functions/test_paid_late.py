"""A month that begins before it is paid for, and the payment that comes after."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.credits import Credits
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures
from tests.functions.grants import moves, stored
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

LATE = PERIOD_END + timedelta(hours=1)
MAY = utc("2026-05-10 10:00")
JUNE = utc("2026-06-10 10:00")


async def unpaid(
    credits: Credits, accounts: Accounts, clock: Clock, *, cap: int = 30, spent: int = 60
) -> tuple[UUID, int]:
    """Open 100 credits a month, spend some, and let the next month begin unpaid."""
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=cap * CREDIT)
    await credits.set_allowance(account, 100 * CREDIT, "first", funded_until=PERIOD_END)
    if spent:
        await credits.deduct(account, spent * CREDIT, "spent")
    await clock.set(LATE)
    row = await credits.catch_up(account)
    assert figures(row.balance) == (0, 0, 0)
    return account, row.balance.balance_version


@pytest.mark.parametrize(("spent", "rolled"), [(60, 30), (85, 15), (100, 0)])
async def test_the_payment_brings_the_month_and_what_rolls_over_into_it(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    spent: int,
    rolled: int,
) -> None:
    account, before = await unpaid(credits, accounts, clock, spent=spent)
    assert (await stored(admin, account))["rollover_withheld"] == rolled * CREDIT
    row = await credits.set_allowance(account, 100 * CREDIT, "paid", funded_until=MAY)
    assert figures(row.balance) == ((100 + rolled) * CREDIT, 0, 0)
    assert row.balance.monthly == (100 + rolled) * CREDIT
    expected = [("plan_allocation", 100 * CREDIT, LATE)]
    if rolled:
        expected.insert(0, ("rollover", rolled * CREDIT, LATE))
    assert await moves(admin, account, after=before) == expected
    assert (await stored(admin, account))["rollover_withheld"] == 0
    ends = await admin.fetch(
        "select distinct expires_at from credits.grants where account_id = $1 and remaining > 0",
        account,
    )
    assert [end[0] for end in ends] == [MAY]


async def test_told_twice_it_rolls_over_once(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account, _ = await unpaid(credits, accounts, clock)
    await credits.set_allowance(account, 100 * CREDIT, "paid", funded_until=MAY)
    again = await credits.set_allowance(account, 100 * CREDIT, "paid", funded_until=MAY)
    assert again.replayed
    other = await credits.set_allowance(account, 100 * CREDIT, "paid again", funded_until=MAY)
    assert figures(other.balance) == (130 * CREDIT, 0, 0)


async def test_a_change_for_the_periods_end_that_pays_grants_this_month_as_it_is(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account, before = await unpaid(credits, accounts, clock)
    row = await credits.set_allowance(
        account, 40 * CREDIT, "less", takes_effect="period_end", funded_until=JUNE
    )
    assert (row.takes_effect_at, figures(row.balance)) == (MAY, (130 * CREDIT, 0, 0))
    await clock.set(MAY)
    assert figures((await credits.catch_up(account)).balance) == (70 * CREDIT, 0, 0)
    assert await moves(admin, account, after=before) == [
        ("rollover", 30 * CREDIT, LATE),
        ("plan_allocation", 100 * CREDIT, LATE),
        ("expiration", -30 * CREDIT, MAY),
        ("expiration", -100 * CREDIT, MAY),
        ("rollover", 30 * CREDIT, MAY),
        ("plan_allocation", 40 * CREDIT, MAY),
    ]


async def test_an_allowance_that_pays_for_nothing_leaves_it_withheld(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account, before = await unpaid(credits, accounts, clock)
    for takes_effect in ("now", "period_end"):
        row = await credits.set_allowance(
            account, 50 * CREDIT, takes_effect, takes_effect=takes_effect
        )
        assert figures(row.balance) == (0, 0, 0)
    assert await moves(admin, account, after=before) == []
    assert (await stored(admin, account))["rollover_withheld"] == 30 * CREDIT


async def test_a_month_that_nobody_paid_for_rolls_nothing_into_the_one_after(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account, before = await unpaid(credits, accounts, clock)
    await clock.set(MAY)
    await credits.catch_up(account)
    assert (await stored(admin, account))["rollover_withheld"] == 0
    row = await credits.set_allowance(account, 100 * CREDIT, "paid", funded_until=JUNE)
    assert figures(row.balance) == (100 * CREDIT, 0, 0)
    assert await moves(admin, account, after=before) == [("plan_allocation", 100 * CREDIT, MAY)]


async def test_who_becomes_unlimited_late_is_granted_a_block_and_no_roll_over(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account, before = await unpaid(credits, accounts, clock)
    await credits.set_allowance(account, -1, "unlimited", funded_until=MAY)
    assert await moves(admin, account, after=before) == [
        ("plan_allocation", 1_000_000_000 * CREDIT, LATE)
    ]
    assert (await stored(admin, account))["rollover_withheld"] == 0


async def test_an_unlimited_month_rolls_nothing_over(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1, rollover_cap=50 * CREDIT)
    await credits.set_allowance(account, 40 * CREDIT, "finite", takes_effect="period_end")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert figures(row.balance) == (40 * CREDIT, 0, 0)
    assert [kind for kind, _, at in await moves(admin, account) if at == PERIOD_END] == [
        "expiration",
        "plan_allocation",
    ]
