"""credits.extend: more, or for longer, and never less."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.refusals import Refusal
from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Extended
from db.driver import Connection
from tests.functions.books import (
    BAD_AMOUNT,
    LARGEST,
    NOW,
    balance,
    figures,
    refused,
    reservation,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

EXPIRES = NOW + timedelta(seconds=60)
BAD_EXPIRY = {"field": "expiresAt", "reason": "must be at most 24 hours from now"}


async def extensions(admin: Connection, account_id: UUID) -> list[tuple[Any, ...]]:
    rows = await admin.fetch(
        "select version, reservation_id, amount, expires_at, created_at"
        " from credits.reservation_extensions where account_id = $1 order by version",
        account_id,
    )
    return [tuple(row) for row in rows]


async def opened(credits: Credits, account: UUID) -> UUID:
    """Reserve 4 credits for a minute: version 3 of an account with one grant."""
    return (await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, 60))).reservation_id


async def test_extend_raises_amount_and_expiry(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=30))
    later = NOW + timedelta(hours=1)
    row = await credits.extend(account, ExtendRequest(first, 7 * CREDIT, later))
    assert row == Extended(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=False,
        reservation_id=first,
        status="pending",
        amount=7 * CREDIT,
        expires_at=later,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
            available=3 * CREDIT,
            reserved=7 * CREDIT,
            spendable=3 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    stored = await reservation(admin, first)
    assert (stored["amount"], stored["expires_at"]) == (7 * CREDIT, later)
    assert (stored["requested_amount"], stored["requested_ttl_seconds"]) == (4 * CREDIT, 60)
    assert (stored["opened_version"], stored["closed_version"]) == (3, None)
    assert await extensions(admin, account) == [
        (4, first, 7 * CREDIT, later, NOW + timedelta(seconds=30))
    ]
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_extend_may_raise_the_amount_alone_or_the_expiry_alone(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    more = await credits.extend(account, ExtendRequest(first, 5 * CREDIT))
    assert (more.amount, more.expires_at, more.version) == (5 * CREDIT, EXPIRES, 4)
    assert figures(more.balance) == (5 * CREDIT, 5 * CREDIT, 0)
    later = EXPIRES + timedelta(microseconds=1)
    longer = await credits.extend(account, ExtendRequest(first, expires_at=later))
    assert (longer.amount, longer.expires_at, longer.version) == (5 * CREDIT, later, 5)
    assert figures(longer.balance) == (5 * CREDIT, 5 * CREDIT, 0)
    assert await extensions(admin, account) == [
        (4, first, 5 * CREDIT, EXPIRES, NOW),
        (5, first, 5 * CREDIT, later, NOW),
    ]


async def test_extend_raises_one_and_never_lowers_the_other(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    sooner = EXPIRES - timedelta(seconds=30)
    more = await credits.extend(account, ExtendRequest(first, 4 * CREDIT + 1, sooner))
    assert (more.amount, more.expires_at) == (4 * CREDIT + 1, EXPIRES)
    later = EXPIRES + timedelta(seconds=1)
    longer = await credits.extend(account, ExtendRequest(first, 1, later))
    assert (longer.amount, longer.expires_at) == (4 * CREDIT + 1, later)
    assert figures(longer.balance) == (6 * CREDIT - 1, 4 * CREDIT + 1, 0)


async def test_what_is_reached_already_is_a_replay(
    credits: Credits, accounts: Accounts, clock: Clock, subtests: pytest.Subtests
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.extend(account, ExtendRequest(first, 5 * CREDIT))
    before = await accounts.snapshot()
    asked: list[tuple[int | None, datetime | None]] = [
        (5 * CREDIT, None),
        (5 * CREDIT, EXPIRES),
        (4 * CREDIT, None),
        (1, NOW - timedelta(days=400)),
        (None, EXPIRES),
        (None, EXPIRES - timedelta(microseconds=1)),
        (None, None),
    ]
    for amount, expires_at in asked:
        with subtests.test(amount=amount, expires_at=expires_at):
            row = await credits.extend(account, ExtendRequest(first, amount, expires_at))
            assert row == Extended(
                ordinal=1,
                outcome="OK",
                facts=None,
                replayed=True,
                reservation_id=first,
                status="pending",
                amount=5 * CREDIT,
                expires_at=EXPIRES,
                version=None,
                version_before=4,
                balance=await accounts.balance(account),
            )
    assert await accounts.snapshot() == before


async def test_a_reservation_past_its_time_may_be_extended_until_it_expires(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=61))
    later = NOW + timedelta(minutes=5)
    row = await credits.extend(account, ExtendRequest(first, expires_at=later))
    assert (row.status, row.expires_at) == ("pending", later)
    await credits.expire_reservations(account)
    assert figures(await accounts.balance(account)) == (6 * CREDIT, 4 * CREDIT, 0)


# Refusals.


async def test_extend_refuses_an_amount_out_of_range(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    for amount in (0, -1, LARGEST + 1, 2**63 - 1):
        with subtests.test(amount=amount):
            async with refused(accounts, "VALIDATION_ERROR", BAD_AMOUNT):
                await credits.extend(account, ExtendRequest(first, amount))


async def test_extend_reaches_24_hours_from_now_and_no_further(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=10))
    latest = NOW + timedelta(hours=24, seconds=10)
    for beyond in (latest + timedelta(microseconds=1), datetime.max.replace(tzinfo=NOW.tzinfo)):
        async with refused(accounts, "VALIDATION_ERROR", BAD_EXPIRY):
            await credits.extend(account, ExtendRequest(first, 5 * CREDIT, beyond))
    row = await credits.extend(account, ExtendRequest(first, expires_at=latest))
    assert row.expires_at == latest


async def test_extend_refuses_more_than_can_be_spent(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    # Required is what is asked beyond what is held.
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 6 * CREDIT + 1, "spendable": 6 * CREDIT, "shortfall": 1},
    ):
        await credits.extend(account, ExtendRequest(first, 10 * CREDIT + 1))
    row = await credits.extend(account, ExtendRequest(first, 10 * CREDIT))
    assert figures(row.balance) == (0, 10 * CREDIT, 0)


async def test_extend_finds_only_reservations_of_its_account(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    other = await accounts.open(10)
    theirs = await opened(credits, other)
    unknown = uuid4()
    for reservation_id in (theirs, unknown):
        async with refused(
            accounts, "RESERVATION_NOT_FOUND", {"reservationId": str(reservation_id)}
        ):
            await credits.extend(account, ExtendRequest(reservation_id, 5 * CREDIT))
    none: Any = None
    async with refused(accounts, "RESERVATION_NOT_FOUND", {"reservationId": None}):
        await credits.extend(account, ExtendRequest(none, 5 * CREDIT))
    missing = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(missing)}):
        await credits.extend(missing, ExtendRequest(theirs, 5 * CREDIT))


async def test_a_closed_reservation_is_not_extended_not_even_to_what_it_had(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(20)
    settled, released, expired = [
        (await credits.reserve(account, ReserveRequest(key, 4 * CREDIT, 60))).reservation_id
        for key in ("settled", "released", "expired")
    ]
    await credits.settle(account, SettleRequest(settled, 3 * CREDIT))
    await credits.release(account, ReleaseRequest(released))
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    refusals: list[tuple[UUID, str, dict[str, Any]]] = [
        (settled, "RESERVATION_SETTLED", {"settledAmount": 3 * CREDIT}),
        (released, "RESERVATION_RELEASED", {}),
        (expired, "RESERVATION_EXPIRED", {}),
    ]
    for reservation_id, code, facts in refusals:
        for amount in (4 * CREDIT, 5 * CREDIT):
            async with refused(accounts, code, {"reservationId": str(reservation_id), **facts}):
                await credits.extend(account, ExtendRequest(reservation_id, amount))


# Shortfall.


async def test_extend_beyond_available_raises_overage_up_to_the_overdraft_limit(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    first = await opened(credits, account)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 11 * CREDIT + 1, "spendable": 11 * CREDIT, "shortfall": 1},
    ):
        await credits.extend(account, ExtendRequest(first, 15 * CREDIT + 1))
    row = await credits.extend(account, ExtendRequest(first, 15 * CREDIT))
    assert figures(row.balance) == (0, 15 * CREDIT, 5 * CREDIT)


async def test_who_owes_beyond_the_limit_may_hold_for_longer_what_is_held(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    other = await credits.reserve(account, ReserveRequest("other", CREDIT))
    await credits.settle(account, SettleRequest(other.reservation_id, 9 * CREDIT))
    assert figures(await accounts.balance(account)) == (0, 4 * CREDIT, 3 * CREDIT)
    later = EXPIRES + timedelta(seconds=1)
    row = await credits.extend(account, ExtendRequest(first, expires_at=later))
    assert (row.amount, row.expires_at) == (4 * CREDIT, later)
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.extend(account, ExtendRequest(first, 4 * CREDIT + 1))


async def test_an_extend_that_falls_short_first_expires_what_is_overdue(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = await credits.reserve(account, ReserveRequest("late", 6 * CREDIT, 30))
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=30))
    row = await credits.extend(account, ExtendRequest(first, 10 * CREDIT))
    assert (row.version_before, row.version) == (4, 6)
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    assert (await reservation(admin, late.reservation_id))["status"] == "expired"
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_an_extend_that_falls_short_may_find_its_own_reservation_expired(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=60))
    [row] = await credits.extend_set(account, [ExtendRequest(first, 11 * CREDIT)])
    assert (row.outcome, row.facts) == ("RESERVATION_EXPIRED", {"reservationId": str(first)})
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert (await reservation(admin, first))["status"] == "expired"
    assert await extensions(admin, account) == []


async def test_an_unlimited_account_may_extend_beyond_its_block(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    first = await opened(credits, account)
    row = await credits.extend(account, ExtendRequest(first, LARGEST))
    # The block granted is as large as what is missing: what was left is left over.
    assert (row.version_before, row.version) == (3, 5)
    assert figures(row.balance) == (10**15 - 4 * CREDIT, LARGEST, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_an_unlimited_account_is_granted_no_block_for_what_has_expired(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=60))
    with pytest.raises(Refusal) as refusal:
        await credits.extend(account, ExtendRequest(first, LARGEST))
    assert refusal.value.code == "RESERVATION_EXPIRED"
    # The reservation's opening, and its end: nothing more.
    assert await versions(admin, account) == [1, 2, 3, 4]
