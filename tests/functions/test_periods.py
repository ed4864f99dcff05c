"""Months that begin and end: what credits.catch_up makes of them."""

from datetime import datetime, time, timedelta
from itertools import pairwise
from uuid import UUID

import asyncpg
import pytest

from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.rows import Brought
from db.driver import Connection
from tests.conftest import Servers
from tests.functions.books import NOW, PERIOD_END, balance, figures, ledger
from tests.functions.grants import boundaries, changes, grants, moves, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

INSTANT = timedelta(microseconds=1)
DAY = timedelta(days=1)
MAY, JUNE, JULY = utc("2026-05-10 10:00"), utc("2026-06-10 10:00"), utc("2026-07-10 10:00")


async def rolled(admin: Connection, account: UUID) -> list[tuple[datetime, datetime]]:
    """Return the bounds of the periods an account rolled into, as they were written down."""
    rows = await changes(admin, account, "roll_period")
    for row in rows:
        # Each is dated by its own boundary, and begins where the one before ends.
        assert datetime.fromisoformat(row["before"]["periodEnd"]) == row["created_at"]
    return [
        (
            datetime.fromisoformat(row["after"]["periodStart"]),
            datetime.fromisoformat(row["after"]["periodEnd"]),
        )
        for row in rows
    ]


async def test_month_ends_and_the_next_begins(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5, allowance=100)
    spent = await credits.deduct(account, 30 * CREDIT, "spent")
    assert spent.balance.used_this_period == 30 * CREDIT
    await clock.set(PERIOD_END - INSTANT)
    assert (await credits.catch_up(account)).balance == spent.balance

    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    expected = balance(
        account,
        7,
        available=105 * CREDIT,
        spendable=105 * CREDIT,
        granted=105 * CREDIT,
        monthly=100 * CREDIT,
        bonus=5 * CREDIT,
        remaining=105 * CREDIT,
        total=105 * CREDIT,
        period_grant=100 * CREDIT,
    )
    assert row.version_before == 4
    assert (row.balance.period_start, row.balance.period_end) == (PERIOD_END, MAY)
    assert figures(row.balance) == figures(expected)
    assert row.balance.used_this_period == 0
    assert (row.balance.balance_version, row.balance.total) == (7, 105 * CREDIT)
    assert await accounts.balance(account) == row.balance

    expired, given = await ledger(admin, account, 4)
    assert {k: v for k, v in expired.items() if v is not None} == {
        "account_id": account,
        "version": 5,
        "type": "expiration",
        "operation": "expire_grant",
        "amount": -70 * CREDIT,
        "available_after": 5 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "grant_id": expired["grant_id"],
        "drawn_grant_ids": [expired["grant_id"]],
        "drawn_amounts": [70 * CREDIT],
        "created_at": PERIOD_END,
    }
    assert {k: v for k, v in given.items() if v is not None} == {
        "account_id": account,
        "version": 7,
        "type": "plan_allocation",
        "operation": "roll_period",
        "amount": 100 * CREDIT,
        "available_after": 105 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "grant_id": given["grant_id"],
        "created_at": PERIOD_END,
    }
    assert await rolled(admin, account) == [(PERIOD_END, MAY)]
    after = await stored(admin, account)
    assert (after["spent_at_period_start"], after["expired_total"], after["next_due_at"]) == (
        *(30 * CREDIT, 70 * CREDIT),
        MAY,
    )


async def test_nothing_due_is_nothing_done(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5, allowance=100)
    first = await accounts.balance(account)
    before = await accounts.snapshot()
    await clock.set(PERIOD_END - INSTANT)
    row = await credits.catch_up(account)
    assert row == Brought(version_before=first.balance_version, balance=first)
    assert await accounts.snapshot() == before


@pytest.mark.parametrize("anchor", [28, 29, 30, 31])
async def test_anchor_is_kept_for_years(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock, anchor: int
) -> None:
    # 2028, 2032 and 2036 are leap years; the time of day stays to the microsecond.
    line = boundaries(2027, anchor, time(23, 59, 59, 999_999), 118)
    await clock.set(line[0])
    project = await accounts.project(period_grant=CREDIT)
    stepping = await accounts.open(project_id=project)
    jumping = await accounts.open(project_id=project)
    for at in line[1:27]:
        await clock.set(at - INSTANT)
        assert (await credits.catch_up(stepping)).balance.period_end == at
        await clock.set(at)
        assert (await credits.catch_up(stepping)).balance.period_start == at
    await clock.set(line[-2])
    for account in (stepping, jumping):
        await credits.catch_up(account)
        assert await rolled(admin, account) == list(pairwise(line[1:]))
        # A month is granted once, however it was come by.
        row = await stored(admin, account)
        assert row["granted_total"] == 117 * CREDIT
        assert row["expired_total"] == 116 * CREDIT


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns", "Europe/Berlin"])
async def test_the_session_has_no_say_in_time(
    servers: Servers,
    database_name: str,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    zone: str,
) -> None:
    # Through the hours that Berlin and St John's skip and repeat.
    line = boundaries(2027, 31, time(1, 30), 26)
    await clock.set(line[0])
    account = await accounts.open(allowance=1)
    session = await asyncpg.connect(
        servers.app_url(database_name),
        server_settings={"timezone": zone, "datestyle": "German, DMY"},
    )
    try:
        for at in line[1:-1]:
            await clock.set(at)
            await session.fetch("select credits.catch_up($1)", account)
    finally:
        await session.close()
    assert await rolled(admin, account) == list(pairwise(line[1:]))


async def test_no_allowance_rolls_without_a_row_of_nothing(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5)
    await credits.deduct(account, CREDIT, "spent")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert row.balance.balance_version == row.version_before + 1
    assert (row.balance.period_start, row.balance.used_this_period) == (PERIOD_END, 0)
    assert figures(row.balance) == (4 * CREDIT, 0, 0)
    assert await ledger(admin, account, row.version_before) == []


async def test_scheduled_end_of_the_allowance(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    set_ = await credits.set_allowance(account, 0, "k", takes_effect="period_end")
    await clock.set(MAY)
    row = await credits.catch_up(account)
    assert figures(row.balance) == (0, 0, 0)
    assert (row.balance.period_start, row.balance.period_grant) == (MAY, 0)
    assert await moves(admin, account, set_.version) == [("expiration", -100 * CREDIT, PERIOD_END)]


@pytest.mark.parametrize(
    ("funded_until", "granted"),
    [
        (None, [PERIOD_END, MAY, JUNE]),
        (JUNE, [PERIOD_END, MAY]),  # a month is granted if it begins before the end
        (JUNE + INSTANT, [PERIOD_END, MAY, JUNE]),
        (JUNE - INSTANT, [PERIOD_END, MAY]),
        (PERIOD_END + INSTANT, [PERIOD_END]),
        (PERIOD_END, []),
        (NOW - 100 * DAY, []),
    ],
)
async def test_only_funded_months_are_granted(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    funded_until: datetime | None,
    granted: list[datetime],
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=10 * CREDIT)
    first = await credits.set_allowance(account, 100 * CREDIT, "k", funded_until=funded_until)
    await clock.set(JUNE)
    row = await credits.catch_up(account)
    # The period rolls all the same, and nothing stays of the month before.
    assert (row.balance.period_start, row.balance.period_end) == (JUNE, JULY)
    seen = await moves(admin, account, first.version)
    assert [at for kind, _, at in seen if kind == "plan_allocation"] == granted
    assert [at for kind, _, at in seen if kind == "rollover"] == granted
    assert row.balance.monthly == (110 * CREDIT if JUNE in granted else 0)


@pytest.mark.parametrize(
    ("spent", "cap", "over"),
    [(0, 30, 30), (60, 30, 30), (80, 30, 20), (100, 30, 0), (0, 0, 0), (0, 500, 100)],
)
async def test_what_is_left_rolls_over_up_to_the_cap(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    spent: int,
    cap: int,
    over: int,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(50, allowance=100, rollover_cap=cap * CREDIT)
    if spent:
        await credits.deduct(account, spent * CREDIT, "spent")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    # What was bought neither expires nor rolls over.
    assert (row.balance.monthly, row.balance.bonus) == ((100 + over) * CREDIT, 50 * CREDIT)
    rollovers = await admin.fetch(
        "select amount, category, pool, priority, effective_at, expires_at"
        " from credits.grants where source = 'rollover'"
    )
    assert [tuple(r) for r in rollovers] == (
        [(over * CREDIT, "paid", "monthly", 10, PERIOD_END, MAY)] if over else []
    )


async def test_rolling_over_again_never_exceeds_the_cap(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    line = boundaries(2026, 10, time(10), 40)
    await clock.set(line[0])
    account = await accounts.open(allowance=100, rollover_cap=250 * CREDIT)
    for n, at in enumerate(line[1:30], 1):
        await clock.set(at)
        row = await credits.catch_up(account)
        assert row.balance.monthly == (100 + min(250, 100 * n)) * CREDIT
    # Ten months that nobody looked are no different.
    await clock.set(line[39])
    assert (await credits.catch_up(account)).balance.monthly == 350 * CREDIT


async def test_the_cap_that_comes_with_the_period_counts(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=50 * CREDIT)
    await credits.set_allowance(
        account, 40 * CREDIT, "k", takes_effect="period_end", rollover_cap=20 * CREDIT
    )
    await clock.set(PERIOD_END)
    assert (await credits.catch_up(account)).balance.monthly == 60 * CREDIT


async def test_unlimited_allowance_is_a_new_block_each_month(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1, rollover_cap=50 * CREDIT)
    await credits.deduct(account, 30 * CREDIT, "spent")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert (row.balance.period_grant, row.balance.monthly) == (-1, 1_000_000_000 * CREDIT)
    assert row.balance.used_this_period == 0
    assert [source for source, *_ in await grants(admin, account)] == ["plan_allocation"] * 2


async def test_new_month_pays_debt_first(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, overdraft=50)
    await credits.deduct(account, 130 * CREDIT, "spent")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert figures(row.balance) == (70 * CREDIT, 0, 0)
    assert (row.balance.monthly, row.balance.used_this_period) == (70 * CREDIT, 0)


async def test_use_counts_in_the_month_in_which_it_is_settled(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 30 * CREDIT, "spent")
    await clock.set(PERIOD_END - INSTANT)
    held = await credits.reserve(account, ReserveRequest("r", 10 * CREDIT))
    await clock.set(PERIOD_END)
    done = await credits.settle(account, SettleRequest(held.reservation_id, 10 * CREDIT))
    assert done.balance is not None
    assert done.balance.used_this_period == 10 * CREDIT
    assert done.balance.monthly == 100 * CREDIT


async def test_missed_months_are_worked_in_order_once_each(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=10 * CREDIT)
    await top_up(credits, account, 3, "g", expires_at=MAY + DAY)
    spent = await credits.deduct(account, 60 * CREDIT, "spent")
    await clock.set(JUNE + DAY)
    row = await credits.catch_up(account)
    assert await moves(admin, account, spent.version) == [
        ("expiration", -40 * CREDIT, PERIOD_END),
        ("rollover", 10 * CREDIT, PERIOD_END),
        ("plan_allocation", 100 * CREDIT, PERIOD_END),
        ("expiration", -10 * CREDIT, MAY),
        ("expiration", -100 * CREDIT, MAY),
        ("rollover", 10 * CREDIT, MAY),
        ("plan_allocation", 100 * CREDIT, MAY),
        ("expiration", -3 * CREDIT, MAY + DAY),
        ("expiration", -10 * CREDIT, JUNE),
        ("expiration", -100 * CREDIT, JUNE),
        ("rollover", 10 * CREDIT, JUNE),
        ("plan_allocation", 100 * CREDIT, JUNE),
    ]
    assert figures(row.balance) == (110 * CREDIT, 0, 0)
    before = await accounts.snapshot()
    assert (await credits.catch_up(account)).balance == row.balance
    assert await accounts.snapshot() == before


async def test_all_at_one_instant(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # A grant begins, others end, an allowance changes and the month turns.
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=CREDIT)
    await credits.issue_grant(account, 7 * CREDIT, "top_up", "begins", effective_at=PERIOD_END)
    await top_up(credits, account, 5, "ends", expires_at=PERIOD_END)
    last = await credits.set_allowance(account, 40 * CREDIT, "k", takes_effect="period_end")
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert await moves(admin, account, last.version) == [
        ("top_up", 7 * CREDIT, PERIOD_END),
        ("expiration", -100 * CREDIT, PERIOD_END),
        ("expiration", -5 * CREDIT, PERIOD_END),
        ("rollover", CREDIT, PERIOD_END),
        ("plan_allocation", 40 * CREDIT, PERIOD_END),
    ]
    [applied] = await changes(admin, account, "apply_pending_allowance")
    [roll] = await changes(admin, account, "roll_period")
    assert (applied["version"], roll["version"]) == (last.version + 4, last.version + 5)
    assert figures(row.balance) == (48 * CREDIT, 0, 0)
