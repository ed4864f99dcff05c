"""Clients that others wrote see each settle: npm's graphql-ws, and curl over SSE."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from uuid import UUID

import pytest

from app.core.bus import Bus
from app.core.database import Database
from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.feed import Feed
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts
from tests.support.peers import missing
from tests.support.processes import ADMIN_KEY, ApiProcess

CLIENTS = Path(__file__).parents[1] / "clients"
SETTLES = 5
SUBSCRIPTION = (
    "subscription Watch($organizationId: ID!) { creditBalanceUpdated(organizationId:"
    " $organizationId) { version available reserved usedThisPeriod } }"
)


async def _line(process: Process) -> str:
    assert process.stdout is not None
    # Not wait_for: before Python 3.12 it can swallow a cancellation.
    async with asyncio.timeout(20):
        line = await process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise AssertionError((await process.stderr.read()).decode())
    return line.decode().strip()


async def _settles_seen(
    credits: Credits, account: UUID, next_balance: "asyncio.Queue[dict[str, object]]"
) -> None:
    """Settle one by one; each must have been seen before the next begins."""
    assert (await asyncio.wait_for(next_balance.get(), 20))["available"] == "100"
    for number in range(1, SETTLES + 1):
        reserved = await credits.reserve(account, ReserveRequest(f"k{number}", 2 * CREDIT))
        settled = await credits.settle(account, SettleRequest(reserved.reservation_id, 2 * CREDIT))
        assert settled.balance is not None
        seen: dict[str, object] = {}
        while seen.get("version") != settled.balance.balance_version:
            seen = await asyncio.wait_for(next_balance.get(), 20)
        assert seen["usedThisPeriod"] == str(2 * number)
        assert seen["available"] == str(100 - 2 * number)


async def _follow(
    process: Process, queue: "asyncio.Queue[dict[str, object]]", *, sse: bool
) -> None:
    while True:
        line = await _line(process)
        if not sse:
            queue.put_nowait(json.loads(line))
        elif line.startswith("data: {"):
            queue.put_nowait(json.loads(line[6:])["data"]["creditBalanceUpdated"])


async def _watched_by(arguments: list[str], credits: Credits, account: UUID, *, sse: bool) -> None:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=PIPE, stderr=PIPE, cwd=CLIENTS
    )
    queue: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    following = asyncio.create_task(_follow(process, queue, sse=sse))
    try:
        await _settles_seen(credits, account, queue)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("client", ["graphql-ws", "curl"])
async def test_a_client_that_others_wrote_sees_each_settle(
    client: str,
    servers: Servers,
    database_name: str,
    database: Database,
    accounts: Accounts,
) -> None:
    if client == "graphql-ws" and not (CLIENTS / "node_modules" / "graphql-ws").exists():
        missing("Node and `npm ci` in tests/clients")
    if client == "curl" and shutil.which("curl") is None:
        missing("curl")
    account = await accounts.open(100)
    bus = Bus(servers.redis)
    bus.start()
    credits = Credits(database, Feed(bus))
    try:
        async with ApiProcess(servers.app_url(database_name), servers.redis) as api:
            if client == "curl":
                body = {"query": SUBSCRIPTION, "variables": {"organizationId": str(account)}}
                arguments = [
                    "curl", "-sN", f"{api.url}/graphql",
                    "-H", "Accept: text/event-stream",
                    "-H", "Content-Type: application/json",
                    "-H", f"Authorization: Bearer {ADMIN_KEY}",
                    "-d", json.dumps(body),
                ]  # fmt: skip
            else:
                url = f"{api.url.replace('http', 'ws')}/graphql"
                arguments = ["node", "watch.mjs", url, ADMIN_KEY, str(account), "1000"]
            await _watched_by(arguments, credits, account, sse=client == "curl")
    finally:
        await bus.stop()
