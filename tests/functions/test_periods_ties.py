"""What begins and ends at one moment, in which order, and what of it rolls over."""

from datetime import timedelta

from app.credits import Credits
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END
from tests.functions.grants import moves
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
