"""Killed in the middle: nothing acknowledged is lost, nothing happens twice.

"Error" does not mean "did not happen". The same request with the same key is the answer
to every lost one, and that is what these tests do.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ValkeyServer
from app.credits import Credits
from app.usage import Usage
from db.migrate import migrate
from tests.support.accounts import CREDIT, Accounts
from tests.support.processes import ApiProcess, reserve

LOST = (httpx.TransportError, ConnectionError)


@dataclass(frozen=True)
class Load:
    """So many requests at once for so many credits; the crash comes after some reservations."""

    requests: int
    capacity: int
    before: int


THOUSAND = Load(requests=1_000, capacity=600, before=250)
HUNDREDS = Load(requests=300, capacity=200, before=80)


@dataclass
class Installation:
    """Durable servers of this test's own, since they are to be killed."""

    postgres: PostgresServer
    valkey: ValkeyServer
    app_url: str


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    with (
        PostgresServer(tmp_path / "postgres", durable=True) as postgres,
        ValkeyServer(tmp_path / "valkey") as valkey,
    ):
        admin = await asyncpg.connect(postgres.url("postgres"))
        await admin.execute("create database exchequer")
        await admin.close()
        app_url = postgres.url("exchequer", "exchequer_app_login", "only-for-tests")
        await migrate(postgres.url("exchequer"), app_url=app_url)
        yield Installation(postgres, valkey, app_url)


async def _open_account(installation: Installation, load: Load) -> UUID:
    database = await Database.connect(installation.app_url, PoolLimits(min_size=1, max_size=2))
    admin = await asyncpg.connect(installation.postgres.url("exchequer"))
    try:
        return await Accounts(database, admin).open(load.capacity)
    finally:
        await database.close()
        await admin.close()


def _crash_in_the_middle(url: str, load: Load, crash: Callable[[], None]) -> None:
    """Crash once so many reservations stand in Postgres; from a thread of its own.

    The loop that sends and reads is busier than the server: by the time it had seen so many
    answers, all would be done.
    """

    async def watch() -> None:
        connection = await asyncpg.connect(url)
        async with asyncio.timeout(60):
            while load.before > await connection.fetchval(
                "select count(*) from credits.reservations"
            ):
                await asyncio.sleep(0)
        connection.terminate()

    asyncio.run(watch())
    crash()


async def _burst(
    url: str, account: UUID, load: Load, crashing: Awaitable[None] | None = None
) -> dict[str, dict[str, object]]:
    """Send every request at once; return the answers that came. Crash in the middle, if told."""
    answers: dict[str, dict[str, object]] = {}

    async def call(client: httpx.AsyncClient, key: str) -> None:
        # Where the answer is lost, what happened is unknown: the retry will tell.
        with contextlib.suppress(*LOST):
            answers[key] = await reserve(client, url, str(account), key)

    limits = httpx.Limits(max_connections=load.requests)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        crash = None if crashing is None else asyncio.ensure_future(crashing)
        await asyncio.gather(*(call(client, f"k{i}") for i in range(load.requests)))
        if crash is not None:
            await crash
    return answers


async def _retry(url: str, account: UUID, load: Load) -> dict[str, dict[str, object]]:
    """Send every request again until each has an answer."""
    answers: dict[str, dict[str, object]] = {}
    async with asyncio.timeout(60):
        while len(answers) < load.requests:
            answers.update(await _burst(url, account, load))
    return answers


async def _assert_exactly_once(
    installation: Installation,
    account: UUID,
    load: Load,
    before: dict[str, dict[str, object]],
    after: dict[str, dict[str, object]],
) -> None:
    accepted = {key for key, answer in after.items() if "reservation" in answer}
    assert len(accepted) == load.capacity
    assert {answer.get("code") for key, answer in after.items() if key not in accepted} == {
        "INSUFFICIENT_CREDITS"
    }
    for key, answer in before.items():
        if "reservation" in answer:
            assert after[key]["reservation"] == answer["reservation"]
            assert after[key]["replayed"] is True
    database = await Database.connect(installation.app_url, PoolLimits(min_size=1, max_size=2))
    try:
        balance = (await Credits(database).check_balance(account)).balance
        assert (balance.available, balance.reserved) == (0, load.capacity * CREDIT)
        rows = await database.value(
            "select count(*) from credits.reservations where account_id = $1", account
        )
        assert rows == load.capacity
        assert await Credits(database).audit() == []
        assert await Usage(database).audit() == []
    finally:
        await database.close()


async def test_a_killed_api_loses_nothing_and_doubles_nothing(installation: Installation) -> None:
    account = await _open_account(installation, THOUSAND)
    async with ApiProcess(installation.app_url, installation.valkey.url()) as api:
        crashing = asyncio.to_thread(
            _crash_in_the_middle, installation.postgres.url("exchequer"), THOUSAND, api.kill
        )
        before = await _burst(api.url, account, THOUSAND, crashing)
        assert len(before) < THOUSAND.requests
        await api.start()
        after = await _retry(api.url, account, THOUSAND)
    await _assert_exactly_once(installation, account, THOUSAND, before, after)


async def test_postgres_stopped_at_once_loses_nothing_and_doubles_nothing(
    installation: Installation,
) -> None:
    account = await _open_account(installation, THOUSAND)

    def crash() -> None:
        port = installation.postgres.port
        installation.postgres.stop("immediate")
        again = PostgresServer(installation.postgres.folder, durable=True, port=port)
        again.start()
        installation.postgres = again

    async with ApiProcess(installation.app_url, installation.valkey.url()) as api:
        try:
            crashing = asyncio.to_thread(
                _crash_in_the_middle, installation.postgres.url("exchequer"), THOUSAND, crash
            )
            before = await _burst(api.url, account, THOUSAND, crashing)
            assert len(before) < THOUSAND.requests
            after = await _retry(api.url, account, THOUSAND)
            await _assert_exactly_once(installation, account, THOUSAND, before, after)
        finally:
            await api.end()
            await asyncio.to_thread(installation.postgres.stop)


async def test_valkey_killed_in_the_middle_changes_no_answer(installation: Installation) -> None:
    account = await _open_account(installation, HUNDREDS)

    async with ApiProcess(installation.app_url, installation.valkey.url()) as api:
        crashing = asyncio.to_thread(
            _crash_in_the_middle,
            installation.postgres.url("exchequer"),
            HUNDREDS,
            installation.valkey.kill,
        )
        answers = await _burst(api.url, account, HUNDREDS, crashing)
        # Not one request was lost: credits do not need the feed.
        assert len(answers) == HUNDREDS.requests
        await _assert_exactly_once(
            installation, account, HUNDREDS, answers, await _retry(api.url, account, HUNDREDS)
        )
