"""credits.settle: many requests in one call, each decided in turn."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Settled
from db.driver import Connection
from tests.functions.books import (
    BAD_SET,
    BAD_USAGE,
    NOW,
    PERIOD_END,
    figures,
    ledger,
    refused,
    reservation,
    usage,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

FLOOR = 10_000 * CREDIT


async def opened(credits: Credits, account: UUID, *amounts: int) -> list[UUID]:
    requests = [ReserveRequest(f"k{place}", amount, 60) for place, amount in enumerate(amounts)]
    rows = await credits.reserve_set(account, requests)
    return [row.reservation_id for row in rows]


async def test_a_set_is_decided_in_turn_and_only_its_last_row_carries_the_balance(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    one, two, three = await opened(credits, account, 2 * CREDIT, 3 * CREDIT, 4 * CREDIT)
    rows = await credits.settle_set(
        account,
        [
            SettleRequest(one, 4 * CREDIT),
            SettleRequest(two, 0),
            SettleRequest(three, 5 * CREDIT),
        ],
    )
    assert [(row.outcome, row.facts, row.late) for row in rows] == [("OK", None, False)] * 3
    assert [row.ordinal for row in rows] == [1, 2, 3]
    assert [row.version for row in rows] == [6, 7, 8]
    assert [row.version_before for row in rows] == [5, 5, 5]
    assert [row.balance is None for row in rows] == [True, True, False]
    assert rows[-1].balance == await accounts.balance(account)
    assert figures(rows[-1].balance) == (CREDIT, 0, 0)
    # Each ledger row tells the account as it was after its own settle: the first took
    # what was available and owed the rest, the second's return paid that back.
    assert [
        (e["version"], e["amount"], e["available_after"], e["reserved_after"], e["overage_after"])
        for e in await ledger(admin, account, after=2)
    ] == [
        (6, -4 * CREDIT, 0, 7 * CREDIT, CREDIT),
        (8, -5 * CREDIT, CREDIT, 0, 0),
    ]
    assert [(u["reservation_id"], u["credits"]) for u in await usage(admin, account)] == [
        (one, 4 * CREDIT),
        (two, 0),
        (three, 5 * CREDIT),
    ]
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_bad_neighbours_leave_good_requests_alone(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(20)
    good, gone, absurd, done, best = await opened(
        credits, account, CREDIT, CREDIT, CREDIT, CREDIT, CREDIT
    )
    await credits.release(account, ReleaseRequest(gone))
    await credits.settle(account, SettleRequest(done, CREDIT))
    unknown = uuid4()
    rows = await credits.settle_set(
        account,
        [
            SettleRequest(unknown, CREDIT),
            SettleRequest(good, 2 * CREDIT, trace_id="good"),
            SettleRequest(gone, CREDIT),
            SettleRequest(None, CREDIT),
            SettleRequest(absurd, FLOOR + 1),
            SettleRequest(done, 2 * CREDIT),
            SettleRequest(best, CREDIT, input_tokens=-1),
            SettleRequest(best, None),
            SettleRequest(best, 3 * CREDIT, trace_id="best"),
            SettleRequest(done, CREDIT),
        ],
    )
    bad_amount = {"field": "amount", "reason": "must be at least 0 and at most 10^12 credits"}
    assert [(row.outcome, row.facts) for row in rows] == [
        ("RESERVATION_NOT_FOUND", {"reservationId": str(unknown)}),
        ("OK", None),
        ("RESERVATION_RELEASED", {"reservationId": str(gone)}),
        ("RESERVATION_NOT_FOUND", {"reservationId": None}),
        (
            "SETTLE_AMOUNT_IMPLAUSIBLE",
            {"reservationId": str(absurd), "amount": FLOOR + 1, "limit": FLOOR},
        ),
        ("RESERVATION_SETTLED", {"reservationId": str(done), "settledAmount": CREDIT}),
        ("VALIDATION_ERROR", BAD_USAGE),
        ("VALIDATION_ERROR", bad_amount),
        ("OK", None),
        ("OK", None),
    ]
    assert [row.replayed for row in rows] == [False] * 9 + [True]
    # Each good request found its own usage and its own grants among the bad ones.
    assert [(u["reservation_id"], u["trace_id"]) for u in await usage(admin, account)] == [
        (done, None),
        (good, "good"),
        (best, "best"),
    ]
    assert [
        (e["reservation_id"], e["amount"], e["drawn_amounts"])
        for e in await ledger(admin, account, after=9)
    ] == [(good, -2 * CREDIT, [2 * CREDIT]), (best, -3 * CREDIT, [3 * CREDIT])]
    assert figures(rows[-1].balance) == (13 * CREDIT, CREDIT, 0)
    assert (await reservation(admin, absurd))["status"] == "pending"
    assert await versions(admin, account) == list(range(1, 12))


async def test_a_refused_row_of_a_set_names_no_reservation(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    [first] = await opened(credits, account, CREDIT)
    [row, _] = await credits.settle_set(
        account, [SettleRequest(first, FLOOR + 1), SettleRequest(first, CREDIT)]
    )
    none: Any = None
    assert row == Settled(
        ordinal=1,
        outcome="SETTLE_AMOUNT_IMPLAUSIBLE",
        facts={"reservationId": str(first), "amount": FLOOR + 1, "limit": FLOOR},
        replayed=False,
        reservation_id=none,
        status=none,
        amount=none,
        settled_amount=none,
        late=none,
        version=none,
        version_before=3,
        balance=None,
    )


async def test_a_set_of_refusals_alone_moves_nothing(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    [first] = await opened(credits, account, CREDIT)
    before = await accounts.snapshot()
    rows = await credits.settle_set(
        account, [SettleRequest(first, -1), SettleRequest(uuid4(), CREDIT)]
    )
    assert [row.outcome for row in rows] == ["VALIDATION_ERROR", "RESERVATION_NOT_FOUND"]
    assert rows[-1].balance == await accounts.balance(account)
    assert await accounts.snapshot() == before


async def test_the_same_reservation_twice_in_a_set_is_a_replay(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    one, two = await opened(credits, account, 4 * CREDIT, CREDIT)
    [first, other, second, differs] = await credits.settle_set(
        account,
        [
            SettleRequest(one, 3 * CREDIT, trace_id="first"),
            SettleRequest(two, CREDIT),
            SettleRequest(one, 3 * CREDIT, trace_id="second"),
            SettleRequest(one, 4 * CREDIT),
        ],
    )
    assert (first.replayed, other.replayed) == (False, False)
    assert second == replace(first, ordinal=3, replayed=True)
    assert (differs.outcome, differs.facts) == (
        "RESERVATION_SETTLED",
        {"reservationId": str(one), "settledAmount": 3 * CREDIT},
    )
    assert figures(differs.balance) == (6 * CREDIT, 0, 0)
    assert [u["trace_id"] for u in await usage(admin, account)] == ["first", None]
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_a_late_settle_twice_in_a_set_is_a_late_replay(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    [first] = await opened(credits, account, 4 * CREDIT)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    rows = await credits.settle_set(
        account, [SettleRequest(first, 3 * CREDIT), SettleRequest(first, 3 * CREDIT)]
    )
    assert [(row.replayed, row.late, row.version) for row in rows] == [
        (False, True, 5),
        (True, True, 5),
    ]
    assert figures(rows[-1].balance) == (7 * CREDIT, 0, 0)


async def test_a_set_has_1_to_256_requests(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    ids = await opened(credits, account, *([CREDIT // 100] * 256))
    requests = [SettleRequest(each, CREDIT // 100) for each in ids]
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.settle_set(account, [])
    async with refused(accounts, "VALIDATION_ERROR", BAD_SET):
        await credits.settle_set(account, [*requests, requests[0]])
    rows = await credits.settle_set(account, requests)
    assert [row.version for row in rows] == list(range(259, 515))
    assert figures(rows[-1].balance) == (7_440_000, 0, 0)
    assert await versions(admin, account) == list(range(1, 515))


# While something is lapsed, a set goes one by one inside, and answers as any other.


async def test_a_set_under_lapsed_credits_answers_as_any_other(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    requests = [ReserveRequest(key, 3 * CREDIT, 86_400) for key in ("one", "two", "three")]
    await clock.set(PERIOD_END - timedelta(hours=1))
    one, two, three = [row.reservation_id for row in await credits.reserve_set(account, requests)]
    await clock.set(PERIOD_END)
    unknown = uuid4()
    rows = await credits.settle_set(
        account,
        [
            SettleRequest(one, 3 * CREDIT),
            SettleRequest(two, CREDIT),
            SettleRequest(two, CREDIT),
            SettleRequest(unknown, CREDIT),
            SettleRequest(three, 4 * CREDIT),
        ],
    )
    assert [(row.outcome, row.replayed) for row in rows] == [
        ("OK", False),
        ("OK", False),
        ("OK", True),
        ("RESERVATION_NOT_FOUND", False),
        ("OK", False),
    ]
    assert [row.ordinal for row in rows] == [1, 2, 3, 4, 5]
    # The month's end comes first: one credit expires, the period rolls, ten are granted.
    assert [row.version_before for row in rows] == [5, 5, 5, 5, 5]
    assert [row.version for row in rows] == [9, 10, 10, None, 12]
    assert [row.balance is None for row in rows] == [True, True, True, True, False]
    assert rows[-1].balance == await accounts.balance(account)
    assert figures(rows[-1].balance) == (9 * CREDIT, 0, 0)
    # What the second gave back belonged to the old month: it expires at once.
    assert [
        (e["version"], e["type"], e["amount"]) for e in await ledger(admin, account, after=5)
    ] == [
        (6, "expiration", -CREDIT),
        (8, "plan_allocation", 10 * CREDIT),
        (9, "consumption", -3 * CREDIT),
        (10, "consumption", -CREDIT),
        (11, "expiration", -2 * CREDIT),
        (12, "consumption", -4 * CREDIT),
    ]
    assert await versions(admin, account) == list(range(1, 13))
