"""Grants that come due while reservations hold them (K-04).

What a reservation opened before covers stays, for it alone; the rest expires at once, and
what it did not use expires when it closes.
"""

import pytest

from app.credits import (
    Credits,
    ExtendRequest,
    ReserveRequest,
)
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END
from tests.functions.grants import top_up
from tests.functions.lapses import DUE, HOUR, expired, lapsed, left, release, reserve, settle, whole
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_month_that_turns_leaves_reservations_alone(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(PERIOD_END - HOUR)
    account = await accounts.open(allowance=100)
    turn = (await accounts.balance(account)).period_end
    await clock.set(turn - HOUR)
    held = await reserve(credits, account, 30)
    await clock.set(turn)
    now = (await credits.catch_up(account)).balance
    # 70 expired; 30 are kept for the reservation, beside the new month's 100.
    assert whole(now) == (100, 30, 0)
    assert (now.monthly, now.used_this_period) == (130 * CREDIT, 0)
    assert await left(admin, account) == [("lapsed", 30), ("live", 100)]
    assert await lapsed(admin, account) == 30

    # It settles on what it kept, not on the new month; what it leaves expires.
    after = await settle(credits, account, held, 20)
    assert whole(after) == (100, 0, 0)
    assert (after.monthly, after.used_this_period) == (100 * CREDIT, 20 * CREDIT)
    assert await left(admin, account) == [("closed", 0), ("live", 100)]
    assert await expired(admin, account) == [(70, turn), (10, turn)]
    assert await lapsed(admin, account) == 0


async def test_what_stays_reserved_keeps_one_of_two_ended_grants_not_both(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    for number in (1, 2):
        await top_up(credits, account, 5, f"g{number}", expires_at=NOW + number * HOUR)
    await reserve(credits, account, 4, "stays")
    goes = await reserve(credits, account, 4, "goes")
    await clock.set(NOW + 3 * HOUR)
    await credits.catch_up(account)
    assert await left(admin, account) == [("lapsed", 5), ("lapsed", 3)]
    # Four are still reserved: the older grant keeps them, the other has nothing to keep.
    assert whole(await release(credits, account, goes)) == (0, 4, 0)
    assert await left(admin, account) == [("lapsed", 4), ("closed", 0)]
    assert await lapsed(admin, account) == 4


@pytest.mark.parametrize(
    ("used", "available", "overage", "gone"),
    [
        (0, 50, 0, 40),
        (39, 50, 0, 1),
        (40, 50, 0, 0),
        (45, 45, 0, 0),
        (90, 0, 0, 0),
        (97, 0, 7, 0),
    ],
)
async def test_settle_draws_on_what_the_reservation_kept(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    used: int,
    available: int,
    overage: int,
    gone: int,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    held = await reserve(credits, account, 40)
    await clock.set(DUE)
    assert whole((await credits.catch_up(account)).balance) == (50, 40, 0)
    after = await settle(credits, account, held, used)
    assert whole(after) == (available, 0, overage)
    assert after.granted == available * CREDIT
    assert await expired(admin, account) == [(60, DUE)] + ([(gone, DUE)] if gone else [])


async def test_release_and_expiry_let_it_go(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    first = await reserve(credits, account, 40, "first")
    await credits.reserve(account, ReserveRequest("second", 30 * CREDIT, 2 * 3600))
    await clock.set(DUE)
    await credits.catch_up(account)
    assert await left(admin, account) == [("live", 50), ("lapsed", 70)]
    assert whole(await release(credits, account, first)) == (50, 30, 0)
    assert await left(admin, account) == [("live", 50), ("lapsed", 30)]
    await clock.set(NOW + 2 * HOUR)
    assert whole((await credits.expire_reservations(account)).balance) == (50, 0, 0)
    assert await left(admin, account) == [("live", 50), ("closed", 0)]
    assert await expired(admin, account) == [(30, DUE), (40, DUE), (30, NOW + 2 * HOUR)]


async def test_reservation_opened_after_never_draws_on_it(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    before = await reserve(credits, account, 40, "before")
    await clock.set(DUE)
    late = await reserve(credits, account, 30, "after")
    assert whole(await settle(credits, account, late, 25)) == (25, 40, 0)
    assert await left(admin, account) == [("live", 25), ("lapsed", 40)]
    # Nor does a deduction.
    spent = await credits.deduct(account, 5 * CREDIT, "spent")
    assert whole(spent.balance) == (20, 40, 0)
    assert await left(admin, account) == [("live", 20), ("lapsed", 40)]
    # While it is open it does not keep the lapsed grant alive either.
    late = await reserve(credits, account, 20, "later")
    assert whole(await release(credits, account, before)) == (0, 20, 0)
    assert await left(admin, account) == [("live", 20), ("closed", 0)]


async def test_grants_before_it_in_line_are_held_first(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=30)
    await top_up(credits, account, 20, "due", expires_at=DUE)
    await top_up(credits, account, 10, "none")
    held = await reserve(credits, account, 45)
    await clock.set(DUE)
    # 30 of the plan, which goes first, and 15 of the one that came due.
    assert whole((await credits.catch_up(account)).balance) == (10, 45, 0)
    assert await left(admin, account) == [("live", 30), ("lapsed", 15), ("live", 10)]
    # What was kept would be lost otherwise, so it is drawn first.
    assert whole(await settle(credits, account, held, 20)) == (35, 0, 0)
    assert await left(admin, account) == [("live", 25), ("closed", 0), ("live", 10)]


async def test_two_grants_two_reservations(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(100)
    await top_up(credits, account, 50, "one", expires_at=DUE)
    await top_up(credits, account, 50, "two", expires_at=DUE + HOUR)
    first = await reserve(credits, account, 30, "first")
    await clock.set(DUE)
    second = await reserve(credits, account, 40, "second")
    assert await left(admin, account) == [("live", 100), ("lapsed", 30), ("live", 50)]
    await clock.set(DUE + HOUR)
    assert whole((await credits.catch_up(account)).balance) == (100, 70, 0)
    assert await left(admin, account) == [("live", 100), ("lapsed", 30), ("lapsed", 40)]

    # The second came after the first grant's end: it has only the second grant.
    assert whole(await settle(credits, account, second, 45)) == (95, 30, 0)
    assert await left(admin, account) == [("live", 95), ("lapsed", 30), ("closed", 0)]
    assert whole(await settle(credits, account, first, 30)) == (95, 0, 0)
    assert await left(admin, account) == [("live", 95), ("closed", 0), ("closed", 0)]
    assert await expired(admin, account) == [(20, DUE), (10, DUE + HOUR)]


async def test_two_grants_the_older_reservation_may_use_both(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(100)
    await top_up(credits, account, 20, "one", expires_at=DUE)
    await top_up(credits, account, 20, "two", expires_at=DUE + HOUR)
    first = await reserve(credits, account, 35, "first")
    await clock.set(DUE)
    second = await reserve(credits, account, 10, "second")
    await clock.set(DUE + HOUR)
    assert whole((await credits.catch_up(account)).balance) == (95, 45, 0)
    assert await left(admin, account) == [("live", 100), ("lapsed", 20), ("lapsed", 20)]
    # The second keeps ten of the grant that ended after it was opened, and no more.
    assert whole(await release(credits, account, first)) == (100, 10, 0)
    assert await left(admin, account) == [("live", 100), ("closed", 0), ("lapsed", 10)]
    assert whole(await settle(credits, account, second, 10)) == (100, 0, 0)
    assert await expired(admin, account) == [(20, DUE + HOUR), (10, DUE + HOUR)]


async def test_beside_overdraft(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(overdraft=50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    before = await reserve(credits, account, 120, "before")
    await clock.set(DUE)
    assert whole((await credits.catch_up(account)).balance) == (0, 120, 20)
    assert await expired(admin, account) == []
    after = await reserve(credits, account, 30, "after")
    # Back come 120: 50 pay what both hold on credit, 70 expire, and so do the 30 that the
    # second reservation would otherwise hold for nothing: it is on credit whole again.
    assert whole(await release(credits, account, before)) == (0, 30, 30)
    assert await expired(admin, account) == [(100, DUE)]
    assert whole(await settle(credits, account, after, 30)) == (0, 0, 30)


async def test_debt_beside_a_lapsed_grant_is_not_paid_by_it(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(overdraft=50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    before = await reserve(credits, account, 100, "before")
    await clock.set(DUE)
    spent = await credits.deduct(account, 10 * CREDIT, "spent")
    assert whole(spent.balance) == (0, 100, 10)
    # A new grant pays what was spent; the reservation keeps what it has.
    await top_up(credits, account, 15, "new")
    assert await left(admin, account) == [("lapsed", 100), ("live", 5)]
    assert whole(await settle(credits, account, before, 60)) == (5, 0, 0)
    assert await expired(admin, account) == [(40, DUE)]


async def test_extended_reservation_keeps_what_it_had(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    held = await reserve(credits, account, 40)
    await clock.set(DUE)
    more = await credits.extend(account, ExtendRequest(held, 70 * CREDIT))
    assert more.balance is not None
    assert whole(more.balance) == (20, 70, 0)
    assert await left(admin, account) == [("live", 50), ("lapsed", 40)]
    assert whole(await settle(credits, account, held, 60)) == (30, 0, 0)
    assert await left(admin, account) == [("live", 30), ("closed", 0)]


async def test_reservation_past_its_time_keeps_nothing(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # It expired before the grant did, though nobody had looked: then nothing holds it.
    await clock.set(NOW)
    account = await accounts.open(50)
    await top_up(credits, account, 100, "g", expires_at=DUE)
    held = await credits.reserve(account, ReserveRequest("r", 40 * CREDIT, 3600))
    await clock.set(DUE + HOUR)
    assert whole((await credits.catch_up(account)).balance) == (50, 0, 0)
    assert await expired(admin, account) == [(100, DUE)]
    # A settle that comes after all that still charges.
    assert whole(await settle(credits, account, held.reservation_id, 10)) == (40, 0, 0)


async def test_reservation_lives_through_several_ends(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    for n in range(1, 5):
        await top_up(credits, account, 10, f"{n}", expires_at=NOW + n * HOUR)
    held = await reserve(credits, account, 25)
    await clock.set(NOW + 5 * HOUR)
    assert whole((await credits.catch_up(account)).balance) == (0, 25, 0)
    assert await left(admin, account) == [
        *(("lapsed", 10), ("lapsed", 10)),
        *(("lapsed", 5), ("closed", 0)),
    ]
    assert await expired(admin, account) == [(5, NOW + 3 * HOUR), (10, NOW + 4 * HOUR)]
    # The one that ended first is used first.
    assert whole(await settle(credits, account, held, 12)) == (0, 0, 0)
    assert await expired(admin, account) == [
        (5, NOW + 3 * HOUR),
        (10, NOW + 4 * HOUR),
        (8, NOW + 5 * HOUR),
        (5, NOW + 5 * HOUR),
    ]


async def test_nothing_that_lapsed_rolls_over(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=500 * CREDIT)
    await clock.set(PERIOD_END - HOUR)
    held = await reserve(credits, account, 30)
    await clock.set(PERIOD_END)
    now = (await credits.catch_up(account)).balance
    assert whole(now) == (170, 30, 0)
    assert whole(await release(credits, account, held)) == (170, 0, 0)
