"""credits.release: reserved credits return; nothing was used."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Released
from db.driver import Connection
from tests.functions.books import (
    BAD_SET,
    NOW,
    PERIOD_END,
    balance,
    figures,
    ledger,
    refused,
    reservation,
    usage,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

BAD_REASON = {"field": "reason", "reason": "must have at most 1000 characters"}


async def opened(credits: Credits, account: UUID, *amounts: int) -> list[UUID]:
    requests = [ReserveRequest(f"k{place}", amount, 60) for place, amount in enumerate(amounts)]
    rows = await credits.reserve_set(account, requests)
    return [row.reservation_id for row in rows]


async def test_release_returns_what_was_reserved(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    at = await clock.advance(timedelta(seconds=5))
    row = await credits.release(account, ReleaseRequest(first, "timeout"))
    assert row == Released(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=False,
        reservation_id=first,
        status="released",
        amount=4 * CREDIT,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
            available=10 * CREDIT,
            spendable=10 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    stored = await reservation(admin, first)
    assert (stored["status"], stored["release_reason"]) == ("released", "timeout")
    assert (stored["closed_version"], stored["closed_at"]) == (4, at)
    assert (stored["settled_version"], stored["settled_amount"]) == (None, None)
    assert await ledger(admin, account, after=2) == []
    assert await usage(admin, account) == []
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_release_returns_what_an_extension_added(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    await credits.extend(account, ExtendRequest(first, 9 * CREDIT))
    row = await credits.release(account, ReleaseRequest(first))
    assert (row.amount, figures(row.balance)) == (9 * CREDIT, (10 * CREDIT, 0, 0))


async def test_what_a_release_returns_pays_overage_first(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    small, large = await opened(credits, account, 2 * CREDIT, 13 * CREDIT)
    part = await credits.release(account, ReleaseRequest(small))
    assert figures(part.balance) == (0, 13 * CREDIT, 3 * CREDIT)
    rest = await credits.release(account, ReleaseRequest(large))
    assert figures(rest.balance) == (10 * CREDIT, 0, 0)


async def test_a_second_release_is_a_replay_and_keeps_the_first_reason(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    done = await credits.release(account, ReleaseRequest(first, "failed"))
    await credits.deduct(account, CREDIT, "d")
    before = await accounts.snapshot()
    again = await credits.release(account, ReleaseRequest(first, "cancelled"))
    assert again == replace(
        done, replayed=True, version_before=5, balance=await accounts.balance(account)
    )
    assert figures(again.balance) == (9 * CREDIT, 0, 0)
    assert await accounts.snapshot() == before
    assert (await reservation(admin, first))["release_reason"] == "failed"


async def test_release_of_an_expired_reservation_is_a_replay_that_says_so(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    before = await accounts.snapshot()
    row = await credits.release(account, ReleaseRequest(first))
    assert (row.replayed, row.status, row.amount, row.version) == (True, "expired", 4 * CREDIT, 4)
    assert await accounts.snapshot() == before


async def test_past_its_time_but_not_yet_expired_a_reservation_is_released(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    await clock.advance(timedelta(hours=1))
    row = await credits.release(account, ReleaseRequest(first))
    assert (row.replayed, row.status, row.version) == (False, "released", 4)


# Refusals.


async def test_release_after_settle_is_refused_with_what_was_charged(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    soon, late = await opened(credits, account, 4 * CREDIT, 2 * CREDIT)
    await credits.settle(account, SettleRequest(soon, 0))
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    await credits.settle(account, SettleRequest(late, 3 * CREDIT))
    for reservation_id, amount in ((soon, 0), (late, 3 * CREDIT)):
        async with refused(
            accounts,
            "RESERVATION_SETTLED",
            {"reservationId": str(reservation_id), "settledAmount": amount},
        ):
            await credits.release(account, ReleaseRequest(reservation_id))


async def test_release_finds_only_reservations_of_its_account(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    [theirs] = await opened(credits, await accounts.open(10), 4 * CREDIT)
    for reservation_id in (theirs, uuid4()):
        async with refused(
            accounts, "RESERVATION_NOT_FOUND", {"reservationId": str(reservation_id)}
        ):
            await credits.release(account, ReleaseRequest(reservation_id))
    none: Any = None
    async with refused(accounts, "RESERVATION_NOT_FOUND", {"reservationId": None}):
        await credits.release(account, ReleaseRequest(none))
    missing = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(missing)}):
        await credits.release(missing, ReleaseRequest(theirs))


async def test_a_reason_has_at_most_1000_characters(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    async with refused(accounts, "VALIDATION_ERROR", BAD_REASON):
        await credits.release(account, ReleaseRequest(first, "é" * 1_001))
    await credits.release(account, ReleaseRequest(first, "é" * 1_000))
    assert (await reservation(admin, first))["release_reason"] == "é" * 1_000


# Sets.


async def test_a_set_is_decided_in_turn_and_only_its_last_row_carries_the_balance(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    one, two, done = await opened(credits, account, 2 * CREDIT, 3 * CREDIT, CREDIT)
    await credits.settle(account, SettleRequest(done, CREDIT))
    unknown = uuid4()
    rows = await credits.release_set(
        account,
        [
            ReleaseRequest(unknown),
            ReleaseRequest(one, "first"),
            ReleaseRequest(done),
            ReleaseRequest(two, "x" * 1_001),
            ReleaseRequest(one, "second"),
            ReleaseRequest(two),
        ],
    )
    assert [(row.outcome, row.facts) for row in rows] == [
        ("RESERVATION_NOT_FOUND", {"reservationId": str(unknown)}),
        ("OK", None),
        ("RESERVATION_SETTLED", {"reservationId": str(done), "settledAmount": CREDIT}),
        ("VALIDATION_ERROR", BAD_REASON),
        ("OK", None),
        ("OK", None),
    ]
    assert [row.ordinal for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.replayed for row in rows] == [False, False, False, False, True, False]
    assert [row.version for row in rows] == [None, 7, None, None, 7, 8]
    assert [row.amount for row in rows] == [None, 2 * CREDIT, None, None, 2 * CREDIT, 3 * CREDIT]
    assert [row.status for row in rows] == [None, "released", None, None, "released", "released"]
    assert [row.version_before for row in rows] == [6] * 6
    assert [row.balance is None for row in rows] == [True] * 5 + [False]
    assert rows[-1].balance == await accounts.balance(account)
    assert figures(rows[-1].balance) == (9 * CREDIT, 0, 0)
    assert (await reservation(admin, one))["release_reason"] == "first"
    assert await versions(admin, account) == list(range(1, 9))


async def test_a_set_has_1_to_256_requests(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    ids = await opened(credits, account, *([1] * 256))
    requests = [ReleaseRequest(each) for each in ids]
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.release_set(account, [])
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.release_set(account, [*requests, requests[0]])
    rows = await credits.release_set(account, requests)
    assert [row.version for row in rows] == list(range(259, 515))
    assert figures(rows[-1].balance) == (10 * CREDIT, 0, 0)
    assert await versions(admin, account) == list(range(1, 515))


# Grants that ended under a reservation.


async def test_what_was_kept_of_an_ended_month_expires_as_it_is_released(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await clock.set(PERIOD_END - timedelta(hours=1))
    one, two = [
        (await credits.reserve(account, ReserveRequest(key, amount, 86_400))).reservation_id
        for key, amount in (("one", 4 * CREDIT), ("two", 3 * CREDIT))
    ]
    await clock.set(PERIOD_END)
    await credits.catch_up(account)
    assert figures(await accounts.balance(account)) == (10 * CREDIT, 7 * CREDIT, 0)
    rows = await credits.release_set(account, [ReleaseRequest(one), ReleaseRequest(two)])
    # Both releases, and then what they no longer keep.
    assert [(row.version_before, row.version) for row in rows] == [(7, 8), (7, 9)]
    assert figures(rows[-1].balance) == (10 * CREDIT, 0, 0)
    assert [
        (e["version"], e["type"], e["amount"], e["available_after"], e["reserved_after"])
        for e in await ledger(admin, account, after=7)
    ] == [
        (10, "expiration", -7 * CREDIT, 10 * CREDIT, 0),
    ]
    assert await versions(admin, account) == list(range(1, 11))
