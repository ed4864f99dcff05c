"""credits.catch_up: what it answers, how far it goes in one call, and clocks that jump."""

from collections.abc import Awaitable, Callable
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.refusals import Refusal
from app.credits import (
    Credits,
    ExtendRequest,
    ReleaseRequest,
    ReserveRequest,
    SettleRequest,
)
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures, refused, versions
from tests.functions.grants import boundaries, moves, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MAY = utc("2026-05-10 10:00")
# The 31st of each month for 25 years.
MONTHS = boundaries(2026, 31, time(10), 301)
STEPS = 120


async def far_behind(accounts: Accounts, clock: Clock, months: int) -> UUID:
    """Return an account that nobody has looked at for so many months."""
    await clock.set(MONTHS[0])
    account = await accounts.open(50, allowance=100)
    await clock.set(MONTHS[months])
    return account


async def period_start(admin: Connection, account: UUID) -> datetime:
    at: datetime = (await stored(admin, account))["period_start"]
    return at


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.catch_up(account)


async def test_eleven_years_in_two_calls(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account = await far_behind(accounts, clock, 132)
    first = await credits.catch_up(account)
    assert first.version_before == 3
    assert first.balance.period_start == MONTHS[STEPS]
    # Each month: one expires, the period rolls, the next is granted.
    assert first.balance.balance_version == 3 + 3 * STEPS
    assert figures(first.balance) == (150 * CREDIT, 0, 0)
    assert (await credits.find_overdue())[0].account_id == account
    second = await credits.catch_up(account)
    assert second.version_before == 3 + 3 * STEPS
    assert second.balance.period_start == MONTHS[132]
    assert second.balance.balance_version == 3 + 3 * 132
    assert await credits.find_overdue() == []
    seen = await moves(admin, account, 3)
    assert [at for kind, _, at in seen if kind == "plan_allocation"] == MONTHS[1:133]
    assert [at for kind, _, at in seen if kind == "expiration"] == MONTHS[1:133]


async def test_ten_years_in_one_call(credits: Credits, accounts: Accounts, clock: Clock) -> None:
    account = await far_behind(accounts, clock, STEPS)
    row = await credits.catch_up(account)
    assert row.balance.period_start == MONTHS[STEPS]
    assert await credits.find_overdue() == []


async def test_any_boundary_counts_as_a_step(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    for n in range(1, 131):
        await top_up(credits, account, 1, f"{n}", expires_at=NOW + n * HOUR)
    await clock.set(NOW + 130 * HOUR)
    assert figures((await credits.catch_up(account)).balance) == (10 * CREDIT, 0, 0)
    assert figures((await credits.catch_up(account)).balance) == (0, 0, 0)


async def test_reserve_is_busy_until_it_has_caught_up(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    account = await far_behind(accounts, clock, 300)
    for months in (120, 240):
        [row] = await credits.reserve_set(account, [ReserveRequest("r", CREDIT)])
        assert (row.outcome, row.facts) == ("BUSY", {})
        # Nothing is set aside, and the way that was made is kept.
        assert row.balance is not None
        assert figures(row.balance) == (150 * CREDIT, 0, 0)
        assert await period_start(admin, account) == MONTHS[months]
    [row] = await credits.reserve_set(account, [ReserveRequest("r", CREDIT)])
    assert row.outcome == "OK"
    assert await period_start(admin, account) == MONTHS[300]
    assert row.expires_at == MONTHS[300] + timedelta(seconds=300)


async def test_what_is_charged_or_closed_waits_until_then_too(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # Else a later row would tell of an earlier time, and draw on grants long over.
    calls: dict[str, Callable[[UUID, UUID], Awaitable[Any]]] = {
        "deduct": lambda account, _: credits.deduct(account, CREDIT, "k"),
        "settle": lambda account, r: credits.settle(account, SettleRequest(r, CREDIT)),
        "release": lambda account, r: credits.release(account, ReleaseRequest(r)),
        "extend": lambda account, r: credits.extend(account, ExtendRequest(r, 2 * CREDIT)),
    }
    for name, call in calls.items():
        await clock.set(MONTHS[0])
        account = await accounts.open(50, allowance=100)
        # Open as long as may be, and still open when all these hours have passed.
        for n in range(1, 131):
            await top_up(credits, account, 1, f"{n}", expires_at=MONTHS[0] + n * HOUR / 10)
        held = await credits.reserve(account, ReserveRequest("r", CREDIT, 86_400))
        await clock.set(MONTHS[0] + 13 * HOUR)
        with pytest.raises(Refusal) as busy:
            await call(account, held.reservation_id)
        assert (name, busy.value.code, busy.value.facts) == (name, "BUSY", {})
        row = await stored(admin, account)
        assert (row["reserved"], row["spent_total"]) == (CREDIT, 0)
        assert row["next_due_at"] == MONTHS[0] + 121 * HOUR / 10
        await call(account, held.reservation_id)
        assert (await stored(admin, account))["next_due_at"] == MONTHS[1]


async def test_what_expires_on_the_way_is_dated_on_the_way(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await top_up(credits, account, 10, "one", expires_at=NOW + HOUR)
    await top_up(credits, account, 10, "two", expires_at=NOW + 3 * HOUR)
    await credits.reserve(account, ReserveRequest("r", 5 * CREDIT, 2 * 3600))
    await clock.set(NOW + 10 * HOUR)
    await credits.catch_up(account)
    # Five were kept for the reservation, whose end is noticed at the next boundary.
    assert await moves(admin, account, 4) == [
        ("expiration", -5 * CREDIT, NOW + HOUR),
        ("expiration", -5 * CREDIT, NOW + 3 * HOUR),
        ("expiration", -10 * CREDIT, NOW + 3 * HOUR),
    ]


async def test_clock_that_runs_backwards_changes_nothing(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50, allowance=100)
    await top_up(credits, account, 10, "g", expires_at=NOW + DAY)
    await clock.set(PERIOD_END)
    held = await credits.reserve(account, ReserveRequest("r", 20 * CREDIT, 3600))
    first = await accounts.balance(account)

    # A month back: for this account it is still the later time.
    await clock.set(NOW)
    before = await accounts.snapshot()
    assert (await credits.catch_up(account)).balance == first
    assert (await credits.expire_reservations(account)).balance == first
    assert await accounts.snapshot() == before
    again = await credits.reserve(account, ReserveRequest("r2", CREDIT, 60))
    assert again.expires_at == PERIOD_END + timedelta(seconds=60)
    given = await credits.issue_grant(account, CREDIT, "top_up", "new", expires_at=PERIOD_END + DAY)
    assert given.effective_at == PERIOD_END
    row = await credits.set_allowance(account, 150 * CREDIT, "k", takes_effect="period_end")
    assert row.takes_effect_at == MAY
    await credits.settle(account, SettleRequest(held.reservation_id, 15 * CREDIT))
    await credits.release(account, ReleaseRequest(again.reservation_id))

    # Forward again: every row of the account is dated in the order of its versions.
    await clock.set(PERIOD_END + 2 * DAY)
    assert figures((await credits.catch_up(account)).balance) == (135 * CREDIT, 0, 0)
    dates = [at for _, _, at in await moves(admin, account)]
    assert dates == sorted(dates)
    last = (await accounts.balance(account)).balance_version
    assert await versions(admin, account) == list(range(1, last + 1))


async def test_clock_that_jumps_ahead_and_back_rolls_once(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    for at in (PERIOD_END + HOUR, PERIOD_END - HOUR, PERIOD_END + HOUR, NOW, PERIOD_END):
        await clock.set(at)
        await credits.catch_up(account)
    assert [kind for kind, *_ in await moves(admin, account)] == [
        *("plan_allocation", "expiration"),
        "plan_allocation",
    ]
