"""What begins and ends at one moment, in which order, and what of it rolls over."""

from datetime import timedelta

from app.credits import Credits
from db.driver import Connection
from tests.functions.books import LARGEST, NOW, PERIOD_END
from tests.functions.grants import moves, stored
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_only_what_the_month_gave_rolls_over(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10, rollover_cap=100 * CREDIT)
    await credits.issue_grant(account, 40 * CREDIT, "promotional", "g", expires_at=PERIOD_END)
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert row.balance.available == 20 * CREDIT
    assert [kind for kind, _, at in await moves(admin, account) if at == PERIOD_END] == [
        "expiration",
        "expiration",
        "rollover",
        "plan_allocation",
    ]


async def test_grants_that_begin_at_one_moment_begin_in_draw_down_order(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    for priority in (60, 10, 50):
        await credits.issue_grant(
            account,
            priority * CREDIT,
            "promotional",
            f"{priority}",
            priority=priority,
            effective_at=NOW + timedelta(days=1),
        )
    await clock.set(NOW + timedelta(days=1))
    await credits.catch_up(account)
    assert [amount // CREDIT for _, amount, _ in await moves(admin, account)] == [10, 50, 60]


async def test_of_grants_that_begin_at_one_moment_the_one_that_ends_first_pays_debt_first(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(overdraft=10)
    await credits.deduct(account, 3 * CREDIT, "into debt")
    begins = NOW + timedelta(days=1)
    for name, category, ends in (
        ("endless", "promotional", None),
        ("paid", "paid", begins + timedelta(days=1)),
        ("promotional", "promotional", begins + timedelta(days=1)),
    ):
        await credits.issue_grant(
            account,
            5 * CREDIT,
            "promotional",
            name,
            category=category,
            effective_at=begins,
            expires_at=ends,
        )
    await clock.set(begins)
    await credits.catch_up(account)
    rows = await admin.fetch(
        "select idempotency_key, remaining from credits.grants where account_id = $1"
        " order by version",
        account,
    )
    assert [tuple(row) for row in rows] == [
        ("promotional", 2 * CREDIT),
        ("paid", 5 * CREDIT),
        ("endless", 5 * CREDIT),
    ]


async def test_unlimited_account_without_room_rolls_on_without_a_block(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    block = (await accounts.balance(account)).monthly
    for number in range(8):
        await credits.issue_grant(account, LARGEST, "top_up", f"{number}")
    await credits.issue_grant(account, LARGEST - block, "top_up", "rest")
    # That is all it may ever be granted. The auditor knows, too.
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert row.balance.monthly == 0
    assert row.balance.period_start == PERIOD_END
    assert (await stored(admin, account))["granted_total"] == 9 * LARGEST
    assert await credits.audit(account) == []
