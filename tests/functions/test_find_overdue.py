"""credits.find_overdue: who waits for the sweep."""

from datetime import timedelta

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Overdue
from tests.functions.books import NOW, PERIOD_END
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

MINUTE = timedelta(seconds=60)


async def test_nothing_overdue_nobody_found(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("k", CREDIT, 60))
    await clock.set(NOW + MINUTE - timedelta(microseconds=1))
    assert await credits.find_overdue() == []


async def test_an_account_is_found_once_however_many_of_its_reservations_are_overdue(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account, _ = await accounts.open(10), await accounts.open(10)
    await credits.reserve_set(account, [ReserveRequest(f"k{n}", 1, 60) for n in range(3)])
    await clock.set(NOW + MINUTE)
    before = await accounts.snapshot()
    assert await credits.find_overdue() == [Overdue(account, due=False)]
    assert await accounts.snapshot() == before
    await credits.expire_reservations(account)
    assert await credits.find_overdue() == []


async def test_closed_reservations_are_not_found(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    settled = await credits.reserve(account, ReserveRequest("settled", CREDIT, 60))
    released = await credits.reserve(account, ReserveRequest("released", CREDIT, 60))
    await credits.settle(account, SettleRequest(settled.reservation_id, CREDIT))
    await credits.release(account, ReleaseRequest(released.reservation_id))
    await clock.set(NOW + MINUTE)
    assert await credits.find_overdue() == []


async def test_an_account_whose_period_or_grant_ends_is_due(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    monthly = await accounts.open()
    daily = await accounts.open()
    await credits.issue_grant(daily, CREDIT, "promotional", "g", expires_at=NOW + timedelta(days=1))
    await clock.set(NOW + timedelta(days=1) - timedelta(microseconds=1))
    assert await credits.find_overdue() == []
    await clock.set(NOW + timedelta(days=1))
    assert await credits.find_overdue() == [Overdue(daily, due=True)]
    await clock.set(PERIOD_END)
    # Who has waited longest comes first.
    assert await credits.find_overdue() == [
        Overdue(daily, due=True),
        Overdue(monthly, due=True),
    ]
    for account in (daily, monthly):
        await credits.catch_up(account)
    assert await credits.find_overdue() == []


async def test_an_account_may_be_overdue_and_due(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("k", CREDIT, 60))
    await clock.set(PERIOD_END)
    assert await credits.find_overdue() == [
        Overdue(account, due=False),
        Overdue(account, due=True),
    ]


async def test_at_most_so_many_of_each_kind_are_found(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    opened = [await accounts.open(1) for _ in range(3)]
    for account in opened:
        await credits.reserve(account, ReserveRequest("k", 1, 60))
    await clock.set(PERIOD_END)
    for limit in (0, 2, 3, 100):
        found = await credits.find_overdue(limit)
        assert [row.due for row in found] == [False] * min(limit, 3) + [True] * min(limit, 3)
        for due in (False, True):
            # Which of those who wait equally long is open; that they differ is not.
            named = {row.account_id for row in found if row.due is due}
            assert (len(named), named - set(opened)) == (min(limit, 3), set())
