"""credits.extend: many requests in one call, each decided in turn."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest
from app.credits.rows import Extended
from db.driver import Connection
from tests.functions.books import BAD_AMOUNT, BAD_SET, NOW, figures, refused, versions
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_a_set_is_decided_in_turn_and_only_its_last_row_carries_the_balance(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    one, two = [
        (await credits.reserve(account, ReserveRequest(key, 2 * CREDIT))).reservation_id
        for key in ("one", "two")
    ]
    rows = await credits.extend_set(
        account,
        [
            ExtendRequest(one, 6 * CREDIT),
            ExtendRequest(two, 5 * CREDIT),
            ExtendRequest(two, 4 * CREDIT),
            ExtendRequest(one, 7 * CREDIT),
        ],
    )
    assert [(row.outcome, row.facts) for row in rows] == [
        ("OK", None),
        (
            "INSUFFICIENT_CREDITS",
            {"required": 3 * CREDIT, "spendable": 2 * CREDIT, "shortfall": CREDIT},
        ),
        ("OK", None),
        ("INSUFFICIENT_CREDITS", {"required": CREDIT, "spendable": 0, "shortfall": CREDIT}),
    ]
    assert [row.ordinal for row in rows] == [1, 2, 3, 4]
    assert [row.version for row in rows] == [5, None, 6, None]
    assert [row.version_before for row in rows] == [4, 4, 4, 4]
    assert [row.balance is None for row in rows] == [True, True, True, False]
    assert rows[-1].balance == await accounts.balance(account)
    assert figures(rows[-1].balance) == (0, 10 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_bad_neighbours_leave_a_good_request_alone(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    good, gone = [
        (await credits.reserve(account, ReserveRequest(key, 2 * CREDIT))).reservation_id
        for key in ("good", "gone")
    ]
    await credits.release(account, ReleaseRequest(gone))
    unknown = uuid4()
    rows = await credits.extend_set(
        account,
        [
            ExtendRequest(unknown, CREDIT),
            ExtendRequest(good, 0),
            ExtendRequest(good, 3 * CREDIT),
            ExtendRequest(gone, 3 * CREDIT),
            ExtendRequest(good, 4 * CREDIT, NOW + timedelta(hours=25)),
        ],
    )
    assert [(row.outcome, row.facts) for row in rows] == [
        ("RESERVATION_NOT_FOUND", {"reservationId": str(unknown)}),
        ("VALIDATION_ERROR", BAD_AMOUNT),
        ("OK", None),
        ("RESERVATION_RELEASED", {"reservationId": str(gone)}),
        (
            "VALIDATION_ERROR",
            {"field": "expiresAt", "reason": "must be at most 24 hours from now"},
        ),
    ]
    assert figures(rows[-1].balance) == (7 * CREDIT, 3 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_a_refused_row_of_a_set_names_no_reservation(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = (await credits.reserve(account, ReserveRequest("k", CREDIT))).reservation_id
    [row, _] = await credits.extend_set(
        account, [ExtendRequest(first, 11 * CREDIT), ExtendRequest(first, 2 * CREDIT)]
    )
    none: Any = None
    assert row == Extended(
        ordinal=1,
        outcome="INSUFFICIENT_CREDITS",
        facts={"required": 10 * CREDIT, "spendable": 9 * CREDIT, "shortfall": CREDIT},
        replayed=False,
        reservation_id=none,
        status=none,
        amount=none,
        expires_at=none,
        version=None,
        version_before=3,
        balance=None,
    )


async def test_the_same_reservation_twice_in_a_set_reaches_the_higher_in_any_order(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = (await credits.reserve(account, ReserveRequest("k", CREDIT))).reservation_id
    up = await credits.extend_set(
        account, [ExtendRequest(first, 2 * CREDIT), ExtendRequest(first, 4 * CREDIT)]
    )
    assert [(row.replayed, row.amount, row.version) for row in up] == [
        (False, 2 * CREDIT, 4),
        (False, 4 * CREDIT, 5),
    ]
    down = await credits.extend_set(
        account, [ExtendRequest(first, 6 * CREDIT), ExtendRequest(first, 5 * CREDIT)]
    )
    assert [(row.replayed, row.amount, row.version) for row in down] == [
        (False, 6 * CREDIT, 6),
        (True, 6 * CREDIT, None),
    ]
    assert figures(down[-1].balance) == (4 * CREDIT, 6 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_a_set_has_1_to_256_requests(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = (await credits.reserve(account, ReserveRequest("k", 1))).reservation_id
    requests = [ExtendRequest(first, n + 2) for n in range(257)]
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.extend_set(account, [])
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.extend_set(account, requests)
    rows = await credits.extend_set(account, requests[:256])
    assert [row.amount for row in rows] == list(range(2, 258))
    assert [row.version for row in rows] == list(range(4, 260))
    assert figures(rows[-1].balance) == (10 * CREDIT - 257, 257, 0)
    assert await versions(admin, account) == list(range(1, 260))
