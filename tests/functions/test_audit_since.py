"""The audit since the last one: what it goes on from, what it reads, what it leaves alone."""

import asyncio
from collections import Counter
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
from asyncpg import Record

from app.core.database import Database
from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.walks import Walk, plan
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.history import History
from tests.support.marks import Marking, audited_since, rewrite_history
from tests.support.tampering import (
    ACCOUNTS,
    AUDIT_SINCE,
    RECORDS,
    RESERVATIONS,
    TRANSACTIONS,
)

WALKS = 8
FIGURES = ("version", "clock_at", "available", "reserved", "overage", "bonus", "granted_total")


async def marks(admin: Connection) -> dict[UUID, Record]:
    rows = await admin.fetch("select * from credits.audit_marks")
    return {row["account_id"]: row for row in rows}


# Where a mark says that newer ids begin: some seconds before, just then, and never.
FIRST_IDS = {
    "early": "first_id",
    "then": "core.uuidv7()",
    "never": "'ffffffff-ffff-7fff-bfff-ffffffffffff'",
}


@pytest.mark.parametrize("first_id", FIRST_IDS)
@pytest.mark.parametrize("calls", [3, 1_000])
async def test_books_marked_along_the_way_are_clean(
    database: Database,
    accounts: Accounts,
    clock: Clock,
    admin: Connection,
    calls: int,
    first_id: str,
) -> None:
    chance = Random(f"marks {calls} {first_id}")
    credits = Marking(database, admin, chance, calls, FIRST_IDS[first_id])
    await History(credits, accounts, clock).write()
    for _ in range(WALKS):
        account = await accounts.open(30, allowance=40, overdraft=10, rollover_cap=15 * CREDIT)
        walk = Walk(credits, clock, account)
        for number in range(2):
            for place, step in enumerate(plan(chance.randrange(2**32))):
                await walk.step(*step, key=f"step {number} {place}")
    assert credits.audits > 10
    assert await audited_since(credits) == []
    assert await credits.audit() == []


async def test_a_mark_tells_what_was_audited(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    reserved = await credits.reserve(account, ReserveRequest("k", 4 * CREDIT))
    assert await audited_since(credits) == []
    mark = (await marks(admin))[account]
    row = await admin.fetchrow("select * from credits.accounts where account_id = $1", account)
    assert row is not None
    assert [mark[name] for name in FIGURES] == [row[name] for name in FIGURES]
    assert mark["reservation_ids"] == [reserved.reservation_id]
    assert mark["grants_remaining"] == [10 * CREDIT]


async def test_a_mark_tells_what_was_taken_back_of_the_period(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=40)
    await credits.set_allowance(account, 25 * CREDIT, "lower", takes_effect="now")
    for key, taken_back in (("between", 15 * CREDIT), ("lower still", 20 * CREDIT)):
        assert await audited_since(credits) == []
        assert (await marks(admin))[account]["plan_taken_back"] == taken_back
        await credits.set_allowance(account, 20 * CREDIT, key, takes_effect="now")


async def test_the_full_audit_leaves_marks_too(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    async for page in credits.audit_pages():
        assert page.findings == []
    assert (await marks(admin)).keys() == {account}


async def test_no_mark_is_written_where_something_was_found(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account, neighbour = await accounts.open(10), await accounts.open(10)
    assert await audited_since(credits) == []
    before = await marks(admin)
    for each in (account, neighbour):
        await credits.deduct(each, CREDIT, "k")
    # A finding of usage is one too.
    await admin.execute(
        "update usage.records set credits = credits + 1 where account_id = $1", account
    )
    for since_last in (True, False):
        found = [
            f async for page in credits.audit_pages(since_last=since_last) for f in page.findings
        ]
        assert [(f.account_id, f.invariant) for f in found] == [(account, "usage")]
        after = await marks(admin)
        kept = {name: value for name, value in after[account].items() if name != "doubted_at"}
        assert kept.items() <= dict(before[account]).items()
        assert after[account]["doubted_at"] is not None
        assert after[neighbour]["version"] == before[neighbour]["version"] + 1
    await admin.execute(
        "update usage.records set credits = credits - 1 where account_id = $1", account
    )
    assert await audited_since(credits) == []
    assert (await marks(admin))[account]["version"] == before[account]["version"] + 1


async def test_an_account_that_waits_for_its_catch_up_is_not_marked(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    await accounts.open(10)
    await admin.execute("update credits.accounts set next_due_at = clock_at")
    assert await audited_since(credits) == []
    assert await marks(admin) == {}


async def test_an_account_that_went_back_is_named(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    version = await admin.fetchval("select version from credits.accounts")
    held = await admin.fetch("select * from credits.accounts")
    await credits.deduct(account, CREDIT, "k")
    assert await audited_since(credits) == []
    # As a row of yesterday's backup would be.
    await admin.execute(
        "update credits.accounts set version = version - 1, available = available + $1,"
        " spent_total = 0, bonus = bonus + $1",
        CREDIT,
    )
    assert held[0]["available"] == 10 * CREDIT
    found = await audited_since(credits)
    assert (f"at least version {version + 1}", str(version)) in [
        (f.expected, f.actual) for f in found if f.invariant == "mark"
    ]
    assert found == [f for f in found if f.account_id == account]


async def test_an_account_that_is_gone_is_told_by_its_mark(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    assert await audited_since(credits) == []
    await admin.execute("set session_replication_role = replica")
    await admin.execute("delete from credits.accounts")
    [found] = await audited_since(credits)
    assert (found.account_id, found.invariant, found.actual) == (account, "mark", "0")


async def test_a_history_that_was_rewritten_to_the_last_row_contradicts_its_mark(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    await credits.deduct(account, CREDIT, "k")
    assert await audited_since(credits) == []
    await credits.deduct(account, CREDIT, "l")
    await rewrite_history(admin)
    found = await credits.audit(account)
    assert [(f.invariant, f.subject) for f in found] == [("mark", "transaction 3")]
    await admin.execute("delete from credits.audit_marks")
    assert await credits.audit(account) == []


async def test_a_late_settle_of_nothing_is_found_without_its_ledger_row(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    reserved = await credits.reserve(account, ReserveRequest("k", CREDIT, ttl_seconds=60))
    await clock.advance(timedelta(hours=1))
    await credits.expire_reservations(account)
    assert await audited_since(credits) == []
    await admin.execute("update credits.audit_marks set first_id = core.uuidv7()")
    await credits.settle(account, SettleRequest(reserved.reservation_id, 0))
    await admin.execute("begin")
    await admin.execute("delete from usage.records")
    [found] = await admin.fetch(AUDIT_SINCE)
    assert (found["invariant"], found["subject"]) == (
        "usage",
        f"reservation {reserved.reservation_id}",
    )
    await admin.execute("rollback")
    assert await audited_since(credits) == []


async def test_pages_cover_all_ids(
    credits: Credits, accounts: Accounts, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.broken_on_purpose = True
    monkeypatch.setattr("app.credits.accounts.AUDITED_AT_ONCE", 2)
    opened = sorted([await accounts.open(10) for _ in range(8)])
    pages = [page async for page in credits.audit_pages(since_last=True)]
    assert [(page.read, page.skipped) for page in pages] == [*4 * [(2, 0)], (0, 0)]
    assert (await marks(admin)).keys() == set(opened)
    await admin.execute("set session_replication_role = replica")
    # The first, the last, and one between what are then the ends of two pages.
    gone = [opened[place] for place in (0, 3, 7)]
    await admin.execute("delete from credits.accounts where account_id = any($1)", gone)
    found = [f async for page in credits.audit_pages() for f in page.findings]
    assert sorted({f.account_id for f in found if f.invariant == "orphan"}) == gone
    # One account's page is that account.
    [page] = [page async for page in credits.audit_pages(opened[1], since_last=True)]
    assert (page.read, page.skipped, page.findings) == (0, 1, [])


async def test_only_what_came_since_is_read(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account, neighbour = await accounts.open(10_000), await accounts.open(10_000)
    for each in (account, neighbour):
        for place in range(8):
            await spend(credits, each, f"before {place}", 250)
    await admin.execute("analyze")
    full = await rows_read(admin, since_last=False)
    await admin.execute("update credits.audit_marks set first_id = core.uuidv7()")
    idle = await rows_read(admin, since_last=True)
    assert idle.keys() <= {ACCOUNTS, "credits.audit_marks"}
    await spend(credits, account, "since", 10)
    since = await rows_read(admin, since_last=True)
    # The parts of the auditor read a row several times: as often as they do in the full one.
    for table in GROWING:
        assert full[table] >= 4_000, full
        assert 0 < since[table] <= 2 * 10 * full[table] / 4_000, (table, since, full)


async def spend(credits: Credits, account: UUID, key: str, count: int) -> None:
    reserved = await credits.reserve_set(
        account, [ReserveRequest(f"{key} {place}", CREDIT) for place in range(count)]
    )
    await credits.settle_set(
        account, [SettleRequest(row.reservation_id, CREDIT) for row in reserved]
    )


GROWING = (RESERVATIONS, TRANSACTIONS, RECORDS)


async def rows_read(admin: Connection, *, since_last: bool) -> Counter[str]:
    """Audit and count the rows that were read of each table, as Postgres counts them.

    Without scans of whole tables, which are what Postgres takes for the smallest.
    """

    async def read() -> Counter[str]:
        rows = await admin.fetch(
            "select schemaname || '.' || relname as name,"
            " seq_tup_read + coalesce(idx_tup_fetch, 0) as rows"
            " from pg_stat_xact_user_tables"
        )
        return Counter({row["name"]: row["rows"] for row in rows})

    async with admin.transaction():
        await admin.execute("set local enable_seqscan = off; set local enable_bitmapscan = off")
        before = await read()
        assert await admin.fetch(AUDIT_SINCE.replace("true", str(since_last))) == []
        return await read() - before


async def test_audits_beside_traffic_find_nothing(credits: Credits, accounts: Accounts) -> None:
    opened = [await accounts.open(100) for _ in range(3)]

    async def trade(account: UUID) -> None:
        for place in range(40):
            reserved = await credits.reserve(account, ReserveRequest(f"{place}", CREDIT))
            await credits.settle(account, SettleRequest(reserved.reservation_id, place))

    spending = asyncio.gather(*map(trade, opened))
    audits = 0
    while not spending.done():
        assert await audited_since(credits) == []
        audits += 1
    await spending
    assert audits > 3
    assert await audited_since(credits) == []
