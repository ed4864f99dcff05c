"""credits.open_account."""

from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.credits import Credits
from app.credits.rows import Actor, Opened
from db.driver import Connection
from tests.conftest import Servers
from tests.functions.books import NOW, PERIOD_END, balance, refused
from tests.functions.grants import changes, grants, moves, stored
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

UNLIMITED_BLOCK = 1_000_000_000 * CREDIT


async def organization(admin: Connection, project_id: UUID) -> UUID:
    """Make an organization that has no account yet."""
    return UUID(
        str(
            await admin.fetchval(
                "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
                " values (core.uuidv7(), $1, 'Organization', core.clock(), core.clock())"
                " returning id",
                project_id,
            )
        )
    )


async def test_account_begins_with_the_terms_of_its_project(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(
        period_grant=100 * CREDIT,
        welcome_grant=20 * CREDIT,
        rollover_cap=30 * CREDIT,
        overdraft_limit=5 * CREDIT,
        low_balance_percent=35,
        minimum_charge=400_000,
    )
    account = await organization(admin, project)
    row = await credits.open_account(account, project, actor=Actor("admin", "a-1", "Admin"))
    assert row == Opened(
        replayed=False,
        version_before=0,
        balance=balance(
            account,
            3,
            available=120 * CREDIT,
            spendable=125 * CREDIT,
            overdraft_limit=5 * CREDIT,
            granted=120 * CREDIT,
            monthly=100 * CREDIT,
            bonus=20 * CREDIT,
            remaining=120 * CREDIT,
            total=120 * CREDIT,
            period_grant=100 * CREDIT,
        ),
    )
    assert await stored(admin, account) == {
        "account_id": account,
        "project_id": project,
        "available": 120 * CREDIT,
        "reserved": 0,
        "overage": 0,
        "overdraft_limit": 5 * CREDIT,
        "lapsed": 0,
        "monthly": 100 * CREDIT,
        "bonus": 20 * CREDIT,
        "granted_total": 120 * CREDIT,
        "spent_total": 0,
        "expired_total": 0,
        "clawed_back_total": 0,
        "spent_at_period_start": 0,
        "rollover_withheld": 0,
        "level": "ample",
        "period_start": NOW,
        "period_end": PERIOD_END,
        "anchor_day": 10,
        "period_grant": 100 * CREDIT,
        "rollover_cap": 30 * CREDIT,
        "pending_period_grant": None,
        "pending_rollover_cap": None,
        "pending_at": None,
        "funded_until": None,
        "next_due_at": PERIOD_END,
        "low_balance_percent": 35,
        "minimum_charge": 400_000,
        "version": 3,
        "clock_at": NOW,
        "created_at": NOW,
    }
    assert await grants(admin, account) == [
        ("plan_allocation", "live", 100 * CREDIT, 100 * CREDIT),
        ("promotional", "live", 20 * CREDIT, 20 * CREDIT),
    ]
    rows = await admin.fetch(
        "select category, pool, priority, effective_at, expires_at, reason, actor_id"
        " from credits.grants where account_id = $1 order by id",
        account,
    )
    assert [tuple(r) for r in rows] == [
        ("paid", "monthly", 10, NOW, PERIOD_END, None, "a-1"),
        ("promotional", "bonus", 50, NOW, None, "welcome", "a-1"),
    ]
    [opened] = await changes(admin, account, "open_account")
    assert (opened["version"], opened["before"], opened["actor_label"]) == (1, None, "Admin")
    assert opened["after"] == {
        "periodGrant": 100 * CREDIT,
        "rolloverCap": 30 * CREDIT,
        "pendingPeriodGrant": None,
        "pendingRolloverCap": None,
        "pendingAt": None,
        "fundedUntil": None,
        "overdraftLimit": 5 * CREDIT,
        "lowBalancePercent": 35,
        "minimumCharge": 400_000,
    }


async def test_nothing_allowed_writes_no_row_of_nothing(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project()
    account = await organization(admin, project)
    row = await credits.open_account(account, project)
    assert row == Opened(replayed=False, version_before=0, balance=balance(account, 1))
    assert await moves(admin, account) == []
    assert await grants(admin, account) == []


async def test_own_terms_go_before_the_project_s(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=20 * CREDIT)
    none = await organization(admin, project)
    row = await credits.open_account(none, project, period_grant=0, welcome_grant=0)
    assert row.balance == balance(none, 1)
    other = await organization(admin, project)
    row = await credits.open_account(
        other, project, period_grant=7 * CREDIT, welcome_grant=3 * CREDIT
    )
    assert (row.balance.monthly, row.balance.bonus) == (7 * CREDIT, 3 * CREDIT)
    assert row.balance.period_grant == 7 * CREDIT


async def test_unlimited_account_gets_a_block(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(period_grant=-1)
    account = await organization(admin, project)
    row = await credits.open_account(account, project)
    assert (row.balance.period_grant, row.balance.monthly) == (-1, UNLIMITED_BLOCK)


async def test_first_month_is_granted_only_if_funded(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=20 * CREDIT)
    for funded_until, monthly in (
        (NOW - timedelta(days=1), 0),
        (NOW, 0),  # a month is granted if it begins before the end of funding
        (NOW + timedelta(microseconds=1), 100 * CREDIT),
        (None, 100 * CREDIT),
    ):
        account = await organization(admin, project)
        row = await credits.open_account(account, project, funded_until=funded_until)
        assert (row.balance.monthly, row.balance.bonus) == (monthly, 20 * CREDIT)
        assert (await stored(admin, account))["funded_until"] == funded_until


async def test_open_again_changes_nothing(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=20 * CREDIT)
    account = await organization(admin, project)
    first = await credits.open_account(account, project)
    before = await accounts.snapshot()
    again = await credits.open_account(
        account, project, period_grant=5 * CREDIT, welcome_grant=5 * CREDIT, funded_until=NOW
    )
    assert again == Opened(replayed=True, version_before=3, balance=first.balance)
    assert await accounts.snapshot() == before


async def test_open_again_brings_up_to_date(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(period_grant=100 * CREDIT)
    account = await accounts.open(project_id=project)
    await clock.set(PERIOD_END)
    again = await credits.open_account(account, project)
    assert (again.replayed, again.version_before) == (True, 2)
    assert again.balance.period_start == PERIOD_END
    assert again.balance.monthly == 100 * CREDIT


async def test_a_project_without_a_policy_is_unknown(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await organization(admin, await accounts.project())
    project = uuid4()
    async with refused(accounts, "NOT_FOUND", {"kind": "project", "id": str(project)}):
        await credits.open_account(account, project)


async def test_anchor_day_is_that_of_utc_whatever_the_session_says(
    servers: Servers, database_name: str, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    project = await accounts.project(period_grant=CREDIT)
    for zone, (at, anchor, end) in product(
        ("UTC", "Pacific/Kiritimati", "Pacific/Niue"),
        (
            ("2026-01-31 10:00", 31, "2026-02-28 10:00"),
            ("2028-01-31 10:00", 31, "2028-02-29 10:00"),
            ("2026-12-31 23:59:59.999999", 31, "2027-01-31 23:59:59.999999"),
            ("2026-02-28 00:00", 28, "2026-03-28 00:00"),
        ),
    ):
        await clock.set(utc(at))
        account = await organization(admin, project)
        session = await asyncpg.connect(
            servers.app_url(database_name),
            server_settings={"timezone": zone, "datestyle": "SQL, DMY"},
        )
        try:
            await session.execute("select credits.open_account($1, $2)", account, project)
        finally:
            await session.close()
        row = await stored(admin, account)
        assert (row["period_start"], row["period_end"], row["anchor_day"]) == (
            utc(at),
            utc(end),
            anchor,
        )


async def test_terms_out_of_range_and_an_unknown_organization(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    account = await organization(admin, project)
    for terms, field, reason in (
        ({"period_grant": -2}, "allowance", "must be -1 (unlimited) or from 0 to 10^9 credits"),
        ({"welcome_grant": -1}, "welcomeGrant", "must be from 0 to 10^9 credits"),
    ):
        wanted: dict[str, Any] = terms
        async with refused(accounts, "VALIDATION_ERROR", {"field": field, "reason": reason}):
            await credits.open_account(account, project, **wanted)
    unknown = uuid4()
    async with refused(accounts, "NOT_FOUND", {"kind": "organization", "id": str(unknown)}):
        await credits.open_account(unknown, project)
