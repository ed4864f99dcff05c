"""The worker: what is overdue is done, whoever was off or killed."""

import asyncio
from datetime import timedelta

from app.core.database import Database
from app.core.idempotency import Idempotency
from app.credits import Credits, ReserveRequest
from app.settings import Settings
from app.worker import run_worker, sweep
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc


async def test_the_sweep_returns_what_expired_and_rolls_idle_accounts(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(utc("2026-01-10 12:00"))
    idle = await accounts.open(allowance=10)
    busy = await accounts.open(5)
    await credits.reserve(busy, ReserveRequest("k", 2 * CREDIT, ttl_seconds=60))
    await clock.advance(timedelta(days=35))
    assert await sweep(credits) == 2
    assert (await accounts.balance(idle)).period_start == utc("2026-02-10 12:00")
    assert (await accounts.balance(busy)).available == 5 * CREDIT
    assert await sweep(credits) == 0


async def test_one_sweep_drains_an_account_and_more_accounts_than_are_found_at_once(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(utc("2026-01-10 12:00"))
    full = await accounts.open(2_000)
    for start in range(0, 2_000, 250):
        await credits.reserve_set(
            full,
            [ReserveRequest(f"k{start + i}", CREDIT, ttl_seconds=60) for i in range(250)],
        )
    project = await accounts.project()
    for _ in range(101):
        account = await accounts.open(1, project_id=project)
        await credits.reserve(account, ReserveRequest("k", CREDIT, ttl_seconds=60))
    await clock.advance(timedelta(minutes=5))
    # A visit expires at most 1,000, and 100 accounts are found at once.
    assert await sweep(credits) == 103
    assert await admin.fetchval("select sum(reserved) from credits.accounts") == 0
    assert await sweep(credits) == 0


async def test_two_sweeps_at_once_do_the_work_once(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(utc("2026-01-10 12:00"))
    opened = [await accounts.open(allowance=10) for _ in range(8)]
    await clock.advance(timedelta(days=40))
    await asyncio.gather(*(sweep(credits) for _ in range(3)))
    for account in opened:
        balance = await accounts.balance(account)
        assert balance.available == 10 * CREDIT
        assert balance.period_start == utc("2026-02-10 12:00")


async def test_an_account_that_is_broken_does_not_hold_up_the_others(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(utc("2026-01-10 12:00"))
    opened = [await accounts.open(10) for _ in range(3)]
    for account in opened:
        await credits.reserve(account, ReserveRequest("k", 4 * CREDIT, ttl_seconds=60))
    accounts.broken_on_purpose = True
    await admin.execute(
        "update credits.accounts set reserved = 0, available = 10000000 where account_id = $1",
        opened[1],
    )
    await clock.advance(timedelta(minutes=5))
    assert await sweep(credits) == 2
    available = [(await accounts.balance(account)).available for account in opened]
    assert available == [10 * CREDIT] * 3
    # It waits for the next sweep and for a person; it stays as it was.
    assert await sweep(credits) == 0
    [pending] = await admin.fetch(
        "select account_id from credits.reservations where status = 'pending'"
    )
    assert pending["account_id"] == opened[1]


async def test_the_worker_runs_until_told_to_stop_and_clears_old_responses(
    servers: Servers,
    database_name: str,
    database: Database,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
) -> None:
    await clock.set(utc("2026-01-10 12:00"))
    account = await accounts.open(allowance=10)
    idempotency = Idempotency(database, "a secret of this test")

    async def work(_connection: Connection) -> dict[str, str]:
        return {"a": "b"}

    await idempotency.once("scope", "old", {}, work)
    await clock.advance(timedelta(days=40))
    await idempotency.once("scope", "new", {}, work)

    settings = Settings(
        database_url=servers.app_url(database_name), redis_url=servers.redis, sweep_seconds=0.01
    )
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(settings, database, stop))
    async with asyncio.timeout(10):
        while await admin.fetchval("select count(*) from core.idempotency_keys") > 1:
            await asyncio.sleep(0.01)
        while (await accounts.balance(account)).period_start < utc("2026-02-10 12:00"):
            await asyncio.sleep(0.01)
    stop.set()
    await worker
    assert await admin.fetchval("select key from core.idempotency_keys") == "new"
