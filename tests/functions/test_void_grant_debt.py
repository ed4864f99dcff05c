"""credits.void_grant: what is missing, and who owes it."""

from datetime import timedelta

from app.credits import Credits, ReleaseRequest, ReserveRequest
from tests.functions.books import (
    LARGEST,
    NOW,
    figures,
    refused,
)
from tests.functions.grants import parts, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)


async def test_debt_ends_before_sums_overflow(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    given = [await top_up(credits, account, LARGEST // CREDIT, f"g{n}") for n in range(9)]
    for n in range(9):
        await credits.deduct(account, LARGEST, f"{n}")
    async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST}):
        await credits.void_grant(
            account, given[0], "k", amount=2 * LARGEST // 10 + 1, missing_becomes_overage=True
        )
    row = await credits.void_grant(
        account, given[0], "k", amount=2 * LARGEST // 10, missing_becomes_overage=True
    )
    assert figures(row.balance) == (0, 0, 2 * LARGEST // 10)


async def test_nobody_owes_what_expired_of_a_grant_that_is_taken_back(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    given = await top_up(credits, account, 100, "g", expires_at=NOW + HOUR)
    await credits.deduct(account, 30 * CREDIT, "used")
    await clock.set(NOW + 2 * HOUR)
    row = await credits.void_grant(account, given, "k", missing_becomes_overage=True)
    assert parts(row) == (100, 0, 30, 70)
    assert figures(row.balance) == (0, 0, 30 * CREDIT)


async def test_nobody_owes_what_an_administrator_took_out_before(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 100, "g")
    await credits.adjust(account, -60 * CREDIT, "out", "a mistake")
    row = await credits.void_grant(account, given, "k", missing_becomes_overage=True)
    assert parts(row) == (100, 40, 0, 60)
    assert figures(row.balance) == (0, 0, 0)


async def test_what_paid_for_another_grant_was_used(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    one = await top_up(credits, account, 100, "one")
    two = await top_up(credits, account, 100, "two")
    await credits.deduct(account, 100 * CREDIT, "used")
    # Both are charged back: a hundred were used, and nothing was paid.
    first = await credits.void_grant(account, one, "one", missing_becomes_overage=True)
    assert parts(first) == (100, 0, 100, 0)
    assert figures(first.balance) == (0, 0, 0)
    second = await credits.void_grant(account, two, "two", missing_becomes_overage=True)
    assert parts(second) == (100, 0, 100, 0)
    assert figures(second.balance) == (0, 0, 100 * CREDIT)


async def test_what_is_reserved_of_it_is_owed_once(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 100, "g")
    await credits.deduct(account, 20 * CREDIT, "used")
    await credits.reserve(account, ReserveRequest("held", 50 * CREDIT))
    part = await credits.void_grant(
        account, given, "part", amount=60 * CREDIT, missing_becomes_overage=True
    )
    assert parts(part) == (60, 30, 30, 0)
    rest = await credits.void_grant(account, given, "rest", missing_becomes_overage=True)
    assert parts(rest) == (40, 0, 40, 0)
    assert figures(rest.balance) == (0, 50 * CREDIT, 70 * CREDIT)


async def test_nobody_owes_what_expired_after_another_grant_had_paid_for_it(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await top_up(credits, account, 60, "other", expires_at=NOW + HOUR / 2)
    given = await top_up(credits, account, 100, "g", expires_at=NOW + HOUR)
    held = await credits.reserve(account, ReserveRequest("all", 160 * CREDIT))
    row = await credits.void_grant(
        account, given, "some", amount=60 * CREDIT, missing_becomes_overage=True
    )
    assert parts(row) == (60, 0, 60, 0)
    await credits.release(account, ReleaseRequest(held.reservation_id))
    await clock.set(NOW + 2 * HOUR)
    row = await credits.void_grant(account, given, "rest", missing_becomes_overage=True)
    assert parts(row) == (40, 0, 0, 40)
    assert figures(row.balance) == (0, 0, 0)
