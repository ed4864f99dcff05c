"""credits.refund: what it gives back, of which kind, and until when."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Refunded
from db.driver import Connection
from tests.conftest import Servers
from tests.functions.books import NOW, balance, figures, ledger
from tests.functions.grants import grant, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)
THIRTY_DAYS = timedelta(days=30)


async def given(admin: Connection, row: Refunded) -> list[tuple[str, int, int, datetime | None]]:
    """Return category, amount and remaining, in credits, and end of a refund's grants."""
    rows = await admin.fetch(
        "select category, amount, remaining, expires_at from credits.grants"
        " where id = any($1) order by version",
        row.grant_ids,
    )
    return [
        (r["category"], r["amount"] // CREDIT, r["remaining"] // CREDIT, r["expires_at"])
        for r in rows
    ]


async def settled(credits: Credits, account: UUID, reserved: int, used: int) -> UUID:
    """Reserve and settle whole credits, and return the reservation."""
    row = await credits.reserve(account, ReserveRequest(f"{reserved}/{used}", reserved * CREDIT))
    await credits.settle(account, SettleRequest(row.reservation_id, used * CREDIT))
    return row.reservation_id


async def test_refund_is_a_new_grant(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await top_up(credits, account, 10, "g")
    reservation = await settled(credits, account, 8, 6)
    await clock.advance(HOUR)
    row = await credits.refund(
        account,
        "k",
        reservation_id=reservation,
        amount=4 * CREDIT,
        reason="bad answer",
        actor=Actor("admin", "a-1", "Admin"),
    )
    [grant_id] = row.grant_ids
    assert row == Refunded(
        refunded_version=4,
        amount=4 * CREDIT,
        refundable=2 * CREDIT,
        grant_ids=[grant_id],
        replayed=False,
        version=5,
        version_before=4,
        # Used credits stay used: a refund does not rewrite the period.
        balance=balance(
            account,
            5,
            available=8 * CREDIT,
            spendable=8 * CREDIT,
            granted=8 * CREDIT,
            bonus=8 * CREDIT,
            used_this_period=6 * CREDIT,
            remaining=8 * CREDIT,
            total=14 * CREDIT,
            usage_basis_points=4285,
        ),
    )
    assert await accounts.balance(account) == row.balance
    kept = await grant(admin, grant_id)
    assert kept.pop("fingerprint") is not None
    assert kept == {
        "account_id": account,
        "id": grant_id,
        "operation": "refund",
        "source": "refund",
        "category": "paid",
        "pool": "bonus",
        "priority": 50,
        "amount": 4 * CREDIT,
        "remaining": 4 * CREDIT,
        "state": "live",
        "effective_at": NOW + HOUR,
        "expires_at": None,
        "version": 5,
        "refund_of": 4,
        "source_ref": None,
        "reason": "bad answer",
        "idempotency_key": "k",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "metadata": None,
        "created_at": NOW + HOUR,
        "forfeited": 0,
    }
    [entry] = await ledger(admin, account, 4)
    assert {k: v for k, v in entry.items() if v is not None} == {
        "account_id": account,
        "version": 5,
        "type": "refund",
        "operation": "refund",
        "amount": 4 * CREDIT,
        "available_after": 8 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "grant_id": grant_id,
        "refund_of": 4,
        "reason": "bad answer",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW + HOUR,
    }


async def test_deduction_is_refunded_by_its_version(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    row = await credits.refund(account, "k", version=spent.version)
    assert (row.refunded_version, row.amount, row.refundable) == (spent.version, 6 * CREDIT, 0)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)


async def test_settle_is_refunded_by_its_version_too(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    reservation = await settled(credits, account, 8, 6)
    version = (await accounts.balance(account)).balance_version
    one = await credits.refund(account, "one", version=version, amount=CREDIT)
    two = await credits.refund(account, "two", reservation_id=reservation)
    assert (one.refunded_version, two.refunded_version) == (version, version)
    assert (two.amount, two.refundable) == (5 * CREDIT, 0)


@pytest.mark.parametrize(
    ("ends", "refund_ends"),
    [
        (None, None),
        (timedelta(days=1), NOW + HOUR + THIRTY_DAYS),
        (HOUR + THIRTY_DAYS, NOW + HOUR + THIRTY_DAYS),
        (timedelta(days=40), NOW + timedelta(days=40)),
    ],
)
async def test_refund_ends_with_the_grant_but_lasts_30_days(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    ends: timedelta | None,
    refund_ends: datetime | None,
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await top_up(credits, account, 10, "g", expires_at=None if ends is None else NOW + ends)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    await clock.advance(HOUR)
    row = await credits.refund(account, "k", version=spent.version)
    assert await given(admin, row) == [("paid", 6, 6, refund_ends)]


async def test_thirty_days_are_days_of_utc_whatever_the_session_says(
    servers: Servers, database_name: str, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    # Berlin's clocks go forward on the way: its thirty days are an hour short.
    await clock.set(NOW)
    account = await accounts.open()
    await top_up(credits, account, 10, "g", expires_at=NOW + HOUR)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    session = await asyncpg.connect(
        servers.app_url(database_name), server_settings={"timezone": "Europe/Berlin"}
    )
    try:
        await session.fetch(
            "select amount from credits.refund($1, 'k', null, $2)", account, spent.version
        )
        ends = await session.fetchval("select max(expires_at) from credits.grants")
    finally:
        await session.close()
    assert ends == NOW + THIRTY_DAYS


async def test_refund_of_a_grant_that_ended_long_ago(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    spent = await credits.deduct(account, 6 * CREDIT, "spent")
    late = NOW + timedelta(days=400)
    await clock.set(late)
    row = await credits.refund(account, "k", version=spent.version)
    assert await given(admin, row) == [("paid", 6, 6, late + THIRTY_DAYS)]
    # Bonus, not monthly: it does not end with the period.
    assert (row.balance.monthly, row.balance.bonus) == (100 * CREDIT, 6 * CREDIT)
    assert row.balance.used_this_period == 0


async def test_refund_falls_into_what_was_drawn(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    long = NOW + timedelta(days=60)
    await top_up(credits, account, 3, "promotional", category="promotional", expires_at=long)
    await top_up(credits, account, 4, "paid")
    spent = await credits.deduct(account, 5 * CREDIT, "spent")
    row = await credits.refund(account, "k", version=spent.version)
    assert await given(admin, row) == [
        ("paid", 2, 2, None),
        ("promotional", 3, 3, long),
    ]
    assert row.version == row.version_before + 2


async def test_last_drawn_is_refunded_first(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    ends = {"a": NOW + timedelta(days=40), "b": NOW + timedelta(days=50)}
    await top_up(credits, account, 3, "a", category="promotional", expires_at=ends["a"])
    await top_up(credits, account, 3, "b", category="promotional", expires_at=ends["b"])
    await top_up(credits, account, 4, "c")
    spent = await credits.deduct(account, 9 * CREDIT, "spent")
    seen = [
        await given(
            admin,
            await credits.refund(account, f"{n}", version=spent.version, amount=n * CREDIT),
        )
        for n in (2, 3, 4)
    ]
    assert seen == [
        [("paid", 2, 2, None)],
        [("paid", 1, 1, None), ("promotional", 2, 2, ends["b"])],
        # Two ends under one category: the later holds for both.
        [("promotional", 4, 4, ends["b"])],
    ]


@pytest.mark.parametrize(
    ("category", "ends", "refund_ends"),
    [
        ("paid", None, None),
        ("promotional", NOW + timedelta(days=10), NOW + timedelta(days=30)),
        ("promotional", NOW + timedelta(days=90), NOW + timedelta(days=90)),
    ],
)
async def test_what_no_grant_covered_is_of_the_kind_that_paid_it(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    category: str,
    ends: datetime | None,
    refund_ends: datetime | None,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(3, overdraft=10)
    spent = await credits.deduct(account, 8 * CREDIT, "spent")
    await top_up(credits, account, 7, "pays the debt", category=category, expires_at=ends)
    # Nothing more is owed, so this one paid nothing.
    await top_up(credits, account, 1, "pays no debt", category="promotional")
    row = await credits.refund(account, "k", version=spent.version, amount=5 * CREDIT)
    assert await given(admin, row) == [(category, 5, 5, refund_ends)]


async def test_what_nobody_has_paid_yet_is_promotional_for_thirty_days(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(overdraft=10)
    spent = await credits.deduct(account, 8 * CREDIT, "spent")
    row = await credits.refund(account, "k", version=spent.version, amount=5 * CREDIT)
    # It pays what is owed at once; nothing of it is left.
    assert await given(admin, row) == [("promotional", 5, 0, NOW + timedelta(days=30))]
    assert figures(row.balance) == (0, 0, 3 * CREDIT)
    rest = await credits.refund(account, "rest", version=spent.version)
    assert figures(rest.balance) == (0, 0, 0)


async def test_refund_pays_debt_first(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, overdraft=10)
    spent = await credits.deduct(account, 9 * CREDIT, "one")
    owing = await credits.deduct(account, 5 * CREDIT, "two")
    assert figures(owing.balance) == (0, 0, 4 * CREDIT)
    row = await credits.refund(account, "k", version=spent.version, amount=6 * CREDIT)
    assert figures(row.balance) == (2 * CREDIT, 0, 0)
    assert await given(admin, row) == [("paid", 6, 2, None)]
    [entry] = await ledger(admin, account, owing.version)
    assert (entry["amount"], entry["drawn_amounts"]) == (6 * CREDIT, [4 * CREDIT])
    # All of a smaller one goes into what is owed.
    await credits.deduct(account, 5 * CREDIT, "three")
    small = await credits.refund(account, "small", version=spent.version, amount=CREDIT)
    assert figures(small.balance) == (0, 0, 2 * CREDIT)
    assert await given(admin, small) == [("paid", 1, 0, None)]


async def test_refund_of_two_kinds_in_debt_pays_with_the_paid_part_first(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(overdraft=10)
    await top_up(credits, account, 3, "promotional", category="promotional")
    await top_up(credits, account, 3, "paid")
    spent = await credits.deduct(account, 6 * CREDIT, "one")
    await credits.deduct(account, 4 * CREDIT, "two")
    row = await credits.refund(account, "k", version=spent.version)
    assert figures(row.balance) == (2 * CREDIT, 0, 0)
    assert await given(admin, row) == [("paid", 3, 0, None), ("promotional", 3, 2, None)]


async def test_refund_of_a_late_settle(credits: Credits, accounts: Accounts, clock: Clock) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    held = await credits.reserve(account, ReserveRequest("r", 5 * CREDIT, 60))
    await clock.advance(HOUR)
    await credits.expire_reservations(account)
    late = await credits.settle(account, SettleRequest(held.reservation_id, 4 * CREDIT))
    assert late.late
    row = await credits.refund(account, "k", reservation_id=held.reservation_id)
    assert (row.amount, row.refunded_version) == (4 * CREDIT, late.version)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)


async def test_many_refunds_add_up_to_what_was_charged(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    for n in range(7):
        category = "promotional" if n % 2 else "paid"
        await credits.issue_grant(account, 1_000_003, "top_up", f"g{n}", category=category)
    spent = await credits.deduct(account, 7 * 1_000_003, "spent")
    left = spent.amount
    # Uneven parts, so that each crosses the edges between grants elsewhere.
    part = 123_457
    while left > 0:
        part = min(left, part * 2 % 999_983 + 1)
        row = await credits.refund(account, f"{left}", version=spent.version, amount=part)
        left -= part
        assert (row.amount, row.refundable) == (part, left)
    by_category = await admin.fetch(
        "select category, sum(amount)::bigint from credits.grants where source = 'refund'"
        " group by 1 order by 1"
    )
    assert [tuple(r) for r in by_category] == [
        ("paid", 4 * 1_000_003),
        ("promotional", 3 * 1_000_003),
    ]
    assert figures(await accounts.balance(account)) == (7 * 1_000_003, 0, 0)


async def test_a_refund_can_be_spent_and_refunded_again(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = await credits.deduct(account, 10 * CREDIT, "one")
    back = await credits.refund(account, "one", version=first.version)
    second = await credits.deduct(account, 10 * CREDIT, "two")
    again = await credits.refund(account, "two", version=second.version)
    assert again == replace(
        back,
        refunded_version=second.version,
        grant_ids=again.grant_ids,
        version=second.version + 1,
        version_before=second.version,
        balance=again.balance,
    )
    row = await stored(admin, account)
    assert (row["granted_total"], row["spent_total"]) == (30 * CREDIT, 20 * CREDIT)
    assert figures(again.balance) == (10 * CREDIT, 0, 0)
