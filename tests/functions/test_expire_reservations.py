"""credits.expire_reservations: what is past its time returns."""

from datetime import timedelta
from uuid import uuid4

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Brought
from db.driver import Connection
from tests.functions.books import (
    NOW,
    PERIOD_END,
    balance,
    figures,
    ledger,
    refused,
    reservation,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_what_is_past_its_time_expires_and_its_credits_return(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late, on_time = [
        (await credits.reserve(account, ReserveRequest(key, amount, ttl))).reservation_id
        for key, amount, ttl in (("late", 4 * CREDIT, 60), ("on time", CREDIT, 61))
    ]
    at = await clock.advance(timedelta(seconds=60))
    row = await credits.expire_reservations(account)
    assert row == Brought(
        version_before=4,
        balance=balance(
            account,
            5,
            available=9 * CREDIT,
            reserved=CREDIT,
            spendable=9 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    stored = await reservation(admin, late)
    assert (stored["status"], stored["closed_version"], stored["closed_at"]) == ("expired", 5, at)
    assert (stored["settled_version"], stored["settled_amount"]) == (None, None)
    assert (await reservation(admin, on_time))["status"] == "pending"
    assert await ledger(admin, account, after=2) == []
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_nothing_past_its_time_nothing_done(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60, microseconds=-1))
    before = await accounts.snapshot()
    row = await credits.expire_reservations(account)
    assert (row.version_before, row.balance) == (3, await accounts.balance(account))
    assert await accounts.snapshot() == before


async def test_what_expired_is_not_expired_again(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    before = await accounts.snapshot()
    row = await credits.expire_reservations(account)
    assert (row.version_before, row.balance.balance_version) == (4, 4)
    assert await accounts.snapshot() == before


async def test_settled_and_released_reservations_do_not_expire(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    settled = await credits.reserve(account, ReserveRequest("settled", CREDIT, 60))
    released = await credits.reserve(account, ReserveRequest("released", CREDIT, 60))
    await credits.settle(account, SettleRequest(settled.reservation_id, CREDIT))
    await credits.release(account, ReleaseRequest(released.reservation_id))
    await clock.advance(timedelta(seconds=60))
    before = await accounts.snapshot()
    await credits.expire_reservations(account)
    assert await accounts.snapshot() == before


async def test_reservations_expire_in_order_of_their_time_each_under_its_own_version(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    ids = [
        (await credits.reserve(account, ReserveRequest(f"k{ttl}", CREDIT, ttl))).reservation_id
        for ttl in (30, 10, 20)
    ]
    await clock.advance(timedelta(seconds=60))
    row = await credits.expire_reservations(account)
    assert (row.version_before, row.balance.balance_version) == (5, 8)
    closed = [(await reservation(admin, each))["closed_version"] for each in ids]
    assert closed == [8, 6, 7]
    assert await versions(admin, account) == list(range(1, 9))


async def test_what_expiry_returns_pays_overage_first(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, overdraft=5)
    await credits.reserve(account, ReserveRequest("small", 2 * CREDIT, 10))
    await credits.reserve(account, ReserveRequest("large", 13 * CREDIT, 20))
    await clock.advance(timedelta(seconds=10))
    part = await credits.expire_reservations(account)
    assert figures(part.balance) == (0, 13 * CREDIT, 3 * CREDIT)
    await clock.advance(timedelta(seconds=10))
    rest = await credits.expire_reservations(account)
    assert figures(rest.balance) == (10 * CREDIT, 0, 0)


async def test_a_call_expires_1000_reservations(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    for start in range(0, 1001, 143):
        await credits.reserve_set(
            account, [ReserveRequest(f"k{start + n}", 1, 60) for n in range(143)]
        )
    await clock.advance(timedelta(seconds=60))
    first = await credits.expire_reservations(account)
    assert (first.version_before, first.balance.balance_version) == (1003, 2003)
    assert figures(first.balance) == (10 * CREDIT - 1, 1, 0)
    rest = await credits.expire_reservations(account)
    assert figures(rest.balance) == (10 * CREDIT, 0, 0)


async def test_expiry_leaves_other_accounts_alone(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    mine, theirs = await accounts.open(10), await accounts.open(10)
    for account in (mine, theirs):
        await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(mine)
    assert figures(await accounts.balance(mine)) == (10 * CREDIT, 0, 0)
    assert figures(await accounts.balance(theirs)) == (6 * CREDIT, 4 * CREDIT, 0)


async def test_an_unknown_account_is_refused(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.expire_reservations(account)


async def test_what_was_kept_of_an_ended_month_expires_with_its_reservation(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await clock.set(PERIOD_END - timedelta(hours=1))
    await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 86_400))
    await clock.set(PERIOD_END)
    await credits.catch_up(account)
    assert figures(await accounts.balance(account)) == (10 * CREDIT, 4 * CREDIT, 0)
    at = await clock.advance(timedelta(hours=23))
    row = await credits.expire_reservations(account)
    assert (row.version_before, row.balance.balance_version) == (6, 8)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert [
        (e["version"], e["type"], e["amount"], e["created_at"])
        for e in await ledger(admin, account, after=6)
    ] == [(8, "expiration", -4 * CREDIT, at)]


async def test_a_reservation_past_its_time_keeps_nothing_of_a_month_that_ends_later(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await clock.set(PERIOD_END - timedelta(hours=1))
    await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 60))
    await clock.set(PERIOD_END + timedelta(hours=1))
    row = await credits.expire_reservations(account)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    # It expired before the month did, though nobody looked until now.
    assert [(e["type"], e["amount"]) for e in await ledger(admin, account, after=3)] == [
        ("expiration", -10 * CREDIT),
        ("plan_allocation", 10 * CREDIT),
    ]
