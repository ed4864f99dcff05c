"""Reservations past their time that nobody has swept yet: nothing depends on the sweep."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.credits import Credits, ExtendRequest, ReserveRequest
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures, refused, versions
from tests.functions.grants import moves, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

TTL = 300
INSTANT = timedelta(microseconds=1)
OVER = NOW + timedelta(seconds=TTL)


async def hold(credits: Credits, account: UUID, count: int, amount: int = CREDIT) -> None:
    """Open reservations of five minutes, in sets."""
    for start in range(0, count, 250):
        rows = await credits.reserve_set(
            account,
            [ReserveRequest(f"h{n}", amount, TTL) for n in range(start, min(start + 250, count))],
        )
        assert {row.outcome for row in rows} == {"OK"}


async def drained(credits: Credits, account: UUID) -> None:
    """Sweep as the worker does, until nothing is left."""
    while (row := await credits.expire_reservations(account)).balance.reserved:
        assert row.balance.balance_version > row.version_before


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("count", [200, 2_100])
async def test_a_month_ends_the_same_whether_they_were_swept_or_not(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    count: int,
    *,
    swept: bool,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=count, rollover_cap=count * CREDIT)
    await hold(credits, account, count)
    if swept:
        await clock.set(OVER)
        await drained(credits, account)
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert figures(row.balance) == (2 * count * CREDIT, 0, 0)
    assert [move for move in await moves(admin, account) if move[2] == PERIOD_END] == [
        ("expiration", -count * CREDIT, PERIOD_END),
        ("rollover", count * CREDIT, PERIOD_END),
        ("plan_allocation", count * CREDIT, PERIOD_END),
    ]
    last = row.balance.balance_version
    assert await versions(admin, account) == list(range(1, last + 1))


async def test_more_than_one_call_may_expire_wait_before_their_boundary(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=1_000)
    await admin.execute(
        "insert into credits.reservations (account_id, id, amount, requested_amount,"
        " requested_ttl_seconds, idempotency_key, fingerprint, opened_at, expires_at,"
        " opened_version) select $1, core.uuidv7(), 1, 1, 300, n::text, '', $2, $3, 2 + n"
        " from generate_series(1, 11500) as n",
        account,
        NOW,
        OVER,
    )
    await admin.execute(
        "update credits.accounts set version = version + 11500, reserved = 11500,"
        " available = available - 11500 where account_id = $1",
        account,
    )
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    # Eleven rounds are a call's work; the month waits for what is left.
    assert row.balance.reserved == 500
    assert row.balance.period_end == PERIOD_END
    row = await credits.catch_up(account)
    assert figures(row.balance) == (1_000 * CREDIT, 0, 0)
    assert row.balance.period_start == PERIOD_END


CALLS: dict[str, Callable[[Credits, UUID, UUID, int], Awaitable[Any]]] = {
    "reserve": lambda credits, account, _, amount: credits.reserve(
        account, ReserveRequest("k", amount)
    ),
    "deduct": lambda credits, account, _, amount: credits.deduct(account, amount, "k"),
    "extend": lambda credits, account, held, amount: credits.extend(
        account, ExtendRequest(held, amount + CREDIT)
    ),
}


@pytest.mark.parametrize("count", [200, 2_000])
@pytest.mark.parametrize("name", CALLS)
async def test_what_they_hold_can_be_spent_at_once(
    credits: Credits, accounts: Accounts, clock: Clock, name: str, count: int
) -> None:
    await clock.set(NOW)
    account = await accounts.open(count + 1)
    first = await credits.reserve(account, ReserveRequest("long", CREDIT, 86_400))
    await hold(credits, account, count)
    await clock.set(OVER)
    row = await CALLS[name](credits, account, first.reservation_id, count * CREDIT)
    assert row.outcome == "OK"


async def test_they_protect_no_allowance_from_a_downgrade(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.reserve(account, ReserveRequest("k", 80 * CREDIT, TTL))
    await clock.set(OVER - INSTANT)
    row = await credits.set_allowance(account, 30 * CREDIT, "while it holds")
    assert figures(row.balance) == (0, 80 * CREDIT, 0)
    await clock.set(OVER)
    row = await credits.set_allowance(account, 20 * CREDIT, "after")
    assert figures(row.balance) == (20 * CREDIT, 0, 0)


async def test_they_protect_no_grant_from_a_void(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    grant = await top_up(credits, account, 100, "g")
    await credits.reserve(account, ReserveRequest("k", 80 * CREDIT, TTL))
    await clock.set(OVER - INSTANT)
    row = await credits.void_grant(account, grant, "while it holds", amount=30 * CREDIT)
    assert (row.taken, row.missing) == (20 * CREDIT, 10 * CREDIT)
    await clock.set(OVER)
    row = await credits.void_grant(account, grant, "after")
    assert (row.taken, row.missing) == (70 * CREDIT, 0)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)


async def test_they_protect_no_credits_from_an_adjustment(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(100)
    await credits.reserve(account, ReserveRequest("k", 80 * CREDIT, TTL))
    await clock.set(OVER - INSTANT)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 100 * CREDIT, "spendable": 20 * CREDIT, "shortfall": 80 * CREDIT},
    ):
        await credits.adjust(account, -100 * CREDIT, "out", "a mistake")
    await clock.set(OVER)
    row = await credits.adjust(account, -100 * CREDIT, "out", "a mistake")
    assert figures(row.balance) == (0, 0, 0)
