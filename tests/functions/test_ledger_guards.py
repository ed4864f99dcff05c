"""What guards the books whoever comes: isolation, locks, privileges, triggers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest

from app.core.database import Database, prepare_connection
from app.core.refusals import Refusal
from app.credits import (
    Credits,
    ExtendRequest,
    ReleaseRequest,
    ReserveRequest,
    SettleRequest,
)
from app.credits.rows import Brought, Deducted, Extended, Released, Reserved, Settled
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, MONEY_TABLES, Accounts

APPEND_ONLY = ("credits.transactions", "credits.account_changes")
WRITERS = ("reserve", "extend", "settle", "release", "expire_reservations", "deduct")
OF_MANY = ("reserve_many", "settle_many", "release_many")


@asynccontextmanager
async def bare(servers: Servers, name: str) -> AsyncIterator[Connection]:
    """Log in as the application with none of its settings: the functions bring their own."""
    connection = await asyncpg.connect(servers.app_url(name))
    await prepare_connection(connection)
    try:
        yield connection
    finally:
        await connection.close()


def calls(
    database: Database, connection: Connection, account: UUID, reservation_id: UUID
) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return one call of each function that writes, over a connection."""

    def call(row: type[Any], name: str, **arguments: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: database.call(
            row, f"credits.{name}", connection, p_account_id=account, **arguments
        )

    return {
        "reserve": call(Reserved, "reserve", p_requests=[ReserveRequest("new", CREDIT)]),
        "extend": call(Extended, "extend", p_requests=[ExtendRequest(reservation_id, 2 * CREDIT)]),
        "settle": call(Settled, "settle", p_requests=[SettleRequest(reservation_id, CREDIT)]),
        "release": call(Released, "release", p_requests=[ReleaseRequest(reservation_id)]),
        "expire_reservations": call(Brought, "expire_reservations"),
        "deduct": call(Deducted, "deduct", p_amount=CREDIT, p_idempotency_key="d"),
    }


async def opened(credits: Credits, accounts: Accounts) -> tuple[UUID, UUID]:
    account = await accounts.open(10)
    row = await credits.reserve(account, ReserveRequest("k", CREDIT))
    return account, row.reservation_id


# Isolation and locks.


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_credits_move_only_under_read_committed(
    credits: Credits,
    accounts: Accounts,
    database: Database,
    servers: Servers,
    database_name: str,
    subtests: pytest.Subtests,
    isolation: Literal["repeatable_read", "serializable"],
) -> None:
    account, reservation_id = await opened(credits, accounts)
    before = await accounts.snapshot()
    async with bare(servers, database_name) as connection:
        writers = calls(database, connection, account, reservation_id)
        assert tuple(writers) == WRITERS
        for name, call in writers.items():
            with subtests.test(name):
                transaction = connection.transaction(isolation=isolation)
                await transaction.start()
                with pytest.raises(asyncpg.InvalidTransactionStateError):
                    await call()
                await transaction.rollback()
    assert await accounts.snapshot() == before


async def test_who_waits_two_seconds_for_the_account_is_told_that_it_is_busy(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    database: Database,
    servers: Servers,
    database_name: str,
) -> None:
    account, _ = await opened(credits, accounts)
    before = await accounts.snapshot()
    async with bare(servers, database_name) as connection:
        # Without the function's own limit the call would wait for ever: this ends it.
        await connection.execute("set statement_timeout = '20s'")
        assert await connection.fetchval("show lock_timeout") == "0"
        async with admin.transaction():
            await admin.execute(
                "select from credits.accounts where account_id = $1 for no key update", account
            )
            # A replay: it would write nothing, and must wait all the same before it reads.
            with pytest.raises(Refusal) as refusal:
                await database.call(
                    Reserved,
                    "credits.reserve",
                    connection,
                    p_account_id=account,
                    p_requests=[ReserveRequest("k", CREDIT)],
                )
    assert (refusal.value.code, refusal.value.facts) == ("BUSY", {})
    assert await accounts.snapshot() == before


async def test_every_writer_brings_its_own_settings_and_the_owners_rights(
    admin: Connection, accounts: Accounts
) -> None:
    await accounts.project()
    rows = await admin.fetch(
        "select p.proname, p.proconfig, p.prosecdef, pg_get_userbyid(p.proowner) as owner"
        " from pg_proc as p"
        " where p.pronamespace = 'credits'::regnamespace and p.proname = any($1)",
        WRITERS + OF_MANY,
    )
    assert {row["proname"]: tuple(row)[1:] for row in rows} == dict.fromkeys(
        WRITERS + OF_MANY,
        (
            [
                "search_path=pg_catalog, pg_temp",
                "lock_timeout=2s",
                "TimeZone=UTC",
                # Sets are arrays, for which Postgres would plan each call anew.
                "plan_cache_mode=force_generic_plan",
                # A plan that was made while a table was empty must do for ever.
                "enable_seqscan=off",
            ],
            True,
            "exchequer_owner",
        ),
    )


# Privileges and triggers.


async def test_the_application_cannot_write_a_money_table(
    credits: Credits, accounts: Accounts, database: Database, subtests: pytest.Subtests
) -> None:
    await opened(credits, accounts)
    before = await accounts.snapshot()
    for table in (*MONEY_TABLES, "credits.policies", "credits.findings"):
        for statement in (
            f"insert into {table} select * from {table} limit 1",  # noqa: S608
            f"update {table} set account_id = account_id"  # noqa: S608
            if table != "credits.policies"
            else f"update {table} set increment = 1",  # noqa: S608
            f"delete from {table}",  # noqa: S608
            f"truncate {table} cascade",
            f"select from {table} for update",
            f"alter table {table} disable trigger all",
        ):
            with (
                subtests.test(statement),
                pytest.raises(asyncpg.InsufficientPrivilegeError),
            ):
                await database.fetch(statement)
    assert await accounts.snapshot() == before


async def test_the_application_cannot_become_the_owner(
    accounts: Accounts, database: Database
) -> None:
    await accounts.project()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.fetch("set role exchequer_owner")


@pytest.mark.parametrize("role", ["exchequer_owner", "postgres"])
async def test_nobody_changes_the_ledger(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    subtests: pytest.Subtests,
    role: str,
) -> None:
    account, reservation_id = await opened(credits, accounts)
    await credits.settle(account, SettleRequest(reservation_id, CREDIT))
    before = await accounts.snapshot()
    if role != "postgres":
        await admin.execute(f"set role {role}")
    for table in APPEND_ONLY:
        for statement in (
            f"update {table} set reason = 'another'",  # noqa: S608
            f"update {table} set version = version",  # noqa: S608
            f"delete from {table}",  # noqa: S608
            f"truncate {table}",
        ):
            with (
                subtests.test(statement),
                pytest.raises(asyncpg.InsufficientPrivilegeError),
            ):
                await admin.execute(statement)
    await admin.execute("reset role")
    assert await accounts.snapshot() == before


async def test_an_owner_that_grants_itself_the_right_is_stopped_by_the_trigger(
    credits: Credits, accounts: Accounts, admin: Connection, subtests: pytest.Subtests
) -> None:
    await opened(credits, accounts)
    before = await accounts.snapshot()
    for table in APPEND_ONLY:
        await admin.execute(f"grant update, delete, truncate on {table} to exchequer_owner")
    await admin.execute("set role exchequer_owner")
    for table in APPEND_ONLY:
        for statement in (
            f"update {table} set reason = 'another'",  # noqa: S608
            f"delete from {table}",  # noqa: S608
            f"truncate {table}",
        ):
            with (
                subtests.test(statement),
                pytest.raises(
                    asyncpg.InsufficientPrivilegeError, match="the ledger is append-only"
                ),
            ):
                await admin.execute(statement)
    await admin.execute("reset role")
    assert await accounts.snapshot() == before
