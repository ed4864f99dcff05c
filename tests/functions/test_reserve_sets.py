"""credits.reserve: many requests in one call, each decided in turn."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from app.credits import Credits, ReserveRequest
from app.credits.rows import Reserved
from db.driver import Connection
from tests.functions.books import (
    BAD_AMOUNT,
    BAD_KEY,
    BAD_SET,
    NOW,
    figures,
    refused,
    reservation,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


def outcomes(rows: list[Reserved]) -> list[tuple[str, Any]]:
    return [(row.outcome, row.facts) for row in rows]


async def test_a_set_is_decided_in_turn_and_only_its_last_row_carries_the_balance(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    rows = await credits.reserve_set(
        account,
        [
            ReserveRequest("a", 4 * CREDIT),
            ReserveRequest("b", 7 * CREDIT),
            ReserveRequest("c", 6 * CREDIT),
            ReserveRequest("d", 1),
        ],
    )
    assert outcomes(rows) == [
        ("OK", None),
        (
            "INSUFFICIENT_CREDITS",
            {"required": 7 * CREDIT, "spendable": 6 * CREDIT, "shortfall": CREDIT},
        ),
        ("OK", None),
        ("INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}),
    ]
    assert [row.ordinal for row in rows] == [1, 2, 3, 4]
    assert [row.version for row in rows] == [3, None, 4, None]
    assert [row.version_before for row in rows] == [2, 2, 2, 2]
    assert [row.balance is None for row in rows] == [True, True, True, False]
    assert rows[-1].balance == await accounts.balance(account)
    assert figures(rows[-1].balance) == (0, 10 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_a_refused_row_of_a_set_names_no_reservation(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("seen", CREDIT))
    [row, last] = await credits.reserve_set(
        account, [ReserveRequest("seen", 2 * CREDIT), ReserveRequest("b", CREDIT)]
    )
    none: Any = None
    assert row == Reserved(
        ordinal=1,
        outcome="DUPLICATE_REQUEST",
        facts={"idempotencyKey": "seen"},
        replayed=False,
        reservation_id=none,
        status=none,
        amount=none,
        expires_at=none,
        version=none,
        version_before=3,
        balance=None,
    )
    assert (last.outcome, last.version) == ("OK", 4)


async def test_bad_neighbours_leave_a_good_request_alone(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("seen", CREDIT))
    none: Any = None
    rows = await credits.reserve_set(
        account,
        [
            ReserveRequest("zero", 0),
            ReserveRequest("seen", 2 * CREDIT),
            ReserveRequest("good", 3 * CREDIT),
            ReserveRequest("", CREDIT),
            ReserveRequest(none, CREDIT),
            ReserveRequest(none, CREDIT),
            ReserveRequest("much", 6 * CREDIT + 1),
        ],
    )
    assert outcomes(rows) == [
        ("VALIDATION_ERROR", BAD_AMOUNT),
        ("DUPLICATE_REQUEST", {"idempotencyKey": "seen"}),
        ("OK", None),
        ("VALIDATION_ERROR", BAD_KEY),
        ("VALIDATION_ERROR", BAD_KEY),
        ("VALIDATION_ERROR", BAD_KEY),
        (
            "INSUFFICIENT_CREDITS",
            {"required": 6 * CREDIT + 1, "spendable": 6 * CREDIT, "shortfall": 1},
        ),
    ]
    assert figures(rows[-1].balance) == (6 * CREDIT, 4 * CREDIT, 0)
    stored = await reservation(admin, rows[2].reservation_id)
    assert (stored["idempotency_key"], stored["amount"]) == ("good", 3 * CREDIT)
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_the_same_key_twice_in_a_set_is_a_replay(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    request = ReserveRequest("k", 4 * CREDIT, 60)
    [first, other, second] = await credits.reserve_set(
        account, [request, ReserveRequest("other", CREDIT), request]
    )
    assert (first.replayed, other.replayed) == (False, False)
    assert second == replace(first, ordinal=3, replayed=True, balance=second.balance)
    assert figures(second.balance) == (5 * CREDIT, 5 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_another_request_under_a_key_taken_in_the_same_set_is_refused(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    request = ReserveRequest("k", 4 * CREDIT)
    rows = await credits.reserve_set(account, [request, request._replace(feature="chat"), request])
    assert outcomes(rows) == [
        ("OK", None),
        ("DUPLICATE_REQUEST", {"idempotencyKey": "k"}),
        ("OK", None),
    ]
    assert [row.replayed for row in rows] == [False, False, True]
    assert rows[2].reservation_id == rows[0].reservation_id
    assert figures(rows[-1].balance) == (6 * CREDIT, 4 * CREDIT, 0)


async def test_a_refused_twin_leaves_its_key_to_the_next(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    rows = await credits.reserve_set(
        account,
        [
            ReserveRequest("k", 11 * CREDIT),
            ReserveRequest("k", 0),
            ReserveRequest("k", 4 * CREDIT),
            ReserveRequest("k", 11 * CREDIT),
        ],
    )
    assert outcomes(rows) == [
        (
            "INSUFFICIENT_CREDITS",
            {"required": 11 * CREDIT, "spendable": 10 * CREDIT, "shortfall": CREDIT},
        ),
        ("VALIDATION_ERROR", BAD_AMOUNT),
        ("OK", None),
        ("DUPLICATE_REQUEST", {"idempotencyKey": "k"}),
    ]
    assert [row.replayed for row in rows] == [False, False, False, False]
    assert (await reservation(admin, rows[2].reservation_id))["amount"] == 4 * CREDIT
    assert figures(rows[-1].balance) == (6 * CREDIT, 4 * CREDIT, 0)


async def test_twins_of_a_reservation_that_exists_are_replays(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    request = ReserveRequest("k", 4 * CREDIT)
    first = await credits.reserve(account, request)
    before = await accounts.snapshot()
    rows = await credits.reserve_set(account, [request, request])
    assert [(row.replayed, row.reservation_id) for row in rows] == [
        (True, first.reservation_id),
        (True, first.reservation_id),
    ]
    assert await accounts.snapshot() == before


async def test_what_a_set_expires_serves_those_who_come_after(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("late", 8 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    rows = await credits.reserve_set(
        account,
        [
            ReserveRequest("a", 2 * CREDIT),
            ReserveRequest("b", 9 * CREDIT),
            ReserveRequest("c", 8 * CREDIT),
            ReserveRequest("d", CREDIT),
        ],
    )
    assert outcomes(rows) == [
        ("OK", None),
        (
            "INSUFFICIENT_CREDITS",
            {"required": 9 * CREDIT, "spendable": 8 * CREDIT, "shortfall": CREDIT},
        ),
        ("OK", None),
        ("INSUFFICIENT_CREDITS", {"required": CREDIT, "spendable": 0, "shortfall": CREDIT}),
    ]
    assert [row.version for row in rows] == [4, None, 6, None]
    assert figures(rows[-1].balance) == (0, 10 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_a_replay_tells_of_an_expiry_that_its_own_set_brought_about(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = ReserveRequest("late", 8 * CREDIT, 60)
    first = await credits.reserve(account, late)
    await clock.advance(timedelta(seconds=60))
    [_, again] = await credits.reserve_set(account, [ReserveRequest("k", 8 * CREDIT), late])
    assert (again.replayed, again.reservation_id) == (True, first.reservation_id)
    assert again.status == "expired"


async def test_a_set_has_1_to_256_requests(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(1)
    requests = [ReserveRequest(f"k{n}", n + 1) for n in range(257)]
    nothing: list[Any] = [[], None]
    for none in nothing:
        async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
            await credits.reserve_set(account, none)
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.reserve_set(account, requests)
    rows = await credits.reserve_set(account, requests[:256])
    assert [row.ordinal for row in rows] == list(range(1, 257))
    assert [row.amount for row in rows] == list(range(1, 257))
    assert [row.version for row in rows] == list(range(3, 259))
    assert figures(rows[-1].balance) == (CREDIT - 32_896, 32_896, 0)
    assert await versions(admin, account) == list(range(1, 259))
