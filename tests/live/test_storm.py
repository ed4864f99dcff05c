"""Five hundred subscriptions while what they hang on is killed: all of them go on.

Two API processes, a Valkey and sockets of clients that come again by the contract. Credits
move all the while. Every client looks at every message; in the end each has seen the last.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count, cycle
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from redis.asyncio import Redis

from app.core.servers import ValkeyServer
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import Accounts
from tests.support.followers import LOST, Followed, Follower
from tests.support.live import BALANCE_FIGURES, until
from tests.support.node import METRIC, Client, client, need
from tests.support.processes import ADMIN_KEY, ApiProcess

ACCOUNTS, SOCKETS, EACH = 10, 50, 10
KINDS = ("balance", "rows", "holds")
# What a process may say while Valkey is away; nothing else.
EXPECTED = {"bus.lost", "bus.publish_failed"}

MOVE = """
mutation ($input: %sInput!) {
  %s(input: $input) {
    ... on %sSuccess { balance { version } %s }
    ... on Refusal { code message }
  }
}
"""


class Mover:
    """Moves credits of one account after the other by any process that answers.

    Bounded: the next move waits until all who are there have seen this one.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        apis: list[ApiProcess],
        accounts: list[UUID],
        followers: list[Follower],
    ) -> None:
        self._http = http
        self._apis = apis
        self._keys = count()
        self._balances = {
            account: [
                (follower, followed)
                for follower in followers
                for followed in follower.followed
                if (followed.kind, followed.account) == ("balance", account)
            ]
            for account in accounts
        }
        self.versions = dict.fromkeys(accounts, 0)
        self.held: dict[UUID, str] = {}

    async def forever(self) -> None:
        for account in cycle(self.versions):
            await self.move(account)
            await until(lambda a=account: self._is_seen(a), "that a move is seen")  # type: ignore[misc]

    async def move(self, account: UUID) -> None:
        """Charge, hold and settle."""
        await self._do("deductCredits", account, amount="0.01")
        done = await self._do("reserveCredits", account, amount="1")
        held: str = done["reservation"]["id"]
        await self._do("settleCredits", account, reservationId=held, amount="0.01")
        self.held[account] = held

    def _is_seen(self, account: UUID) -> bool:
        newest = self.versions[account]
        return all(
            followed.version >= newest or not follower.is_connected
            for follower, followed in self._balances[account]
        )

    async def _do(self, name: str, account: UUID, **values: str) -> dict[str, Any]:
        """Send until it is answered: the key makes it one."""
        title = name[0].upper() + name[1:]
        hold = "" if name == "deductCredits" else "reservation { id }"
        values["organizationId"] = str(account)
        if name != "settleCredits":
            values["idempotencyKey"] = f"move-{next(self._keys)}"
        body = {
            "query": MOVE % (title, name, title, hold),
            "variables": {"input": values},
        }
        for api in cycle(self._apis):
            with suppress(httpx.TransportError):
                answer = await self._http.post(f"{api.url}/graphql", json=body)
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    continue
                done: dict[str, Any] = answer.json()["data"][name]
                assert "balance" in done, done
                self.versions[account] = done["balance"]["version"]
                return done
            # Both may be away for a moment.
            await asyncio.sleep(0.01)
        raise AssertionError


@pytest.fixture
def apis(
    servers: Servers,
    database_name: str,
    tmp_path: Path,
    start_valkey: Callable[[int], ValkeyServer],
) -> Iterator[tuple[list[ApiProcess], ValkeyServer]]:
    need("graphql-ws", "ws")
    valkey = start_valkey(0)
    settings = {
        "EXCHEQUER_LOG_LEVEL": "warning",
        "EXCHEQUER_DATABASE_POOL_SIZE": "10",
        # While Valkey is away, what moved is found by looking.
        "EXCHEQUER_FEED_RESYNC_SECONDS": "0.5",
    }
    yield (
        [
            ApiProcess(
                servers.app_url(database_name),
                valkey.url(),
                log=tmp_path / f"{name}.log",
                **settings,
            )
            for name in ("a", "b")
        ],
        valkey,
    )
    said = [
        json.loads(line) if line.startswith("{") else {"event": line}
        for name in ("a", "b")
        for line in (tmp_path / f"{name}.log").read_text("utf-8").splitlines()
    ]
    assert {line["event"] for line in said} - EXPECTED == set(), said


@asynccontextmanager
async def _following(followers: list[Follower]) -> AsyncIterator[None]:
    """Let them follow meanwhile; what one finds wrong ends the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follower.follow()) for follower in followers]
        yield
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def _moving(mover: Mover) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(mover.forever())
        yield
        task.cancel()


async def _subscriptions(api: ApiProcess) -> float:
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{api.url}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith(METRIC)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def _have(api: ApiProcess, number: int) -> None:
    async def so() -> bool:
        return await _subscriptions(api) == number

    await until(so, f"{number} subscriptions")


async def _health(apis: list[ApiProcess], status: str) -> None:
    async def so() -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            answers = [await http.get(f"{api.url}/health/ready") for api in apis]
        return all(answer.json()["status"] == status for answer in answers)

    await until(so, f"health {status}")


async def _all_move(mover: Mover, followers: list[Follower]) -> None:
    """Wait until every balance there is has come to where it is at this moment, or further."""
    now = {account: version + 1 for account, version in mover.versions.items()}
    watching = [f for follower in followers for f in follower.followed if f.kind == "balance"]
    await until(lambda: all(f.version >= now[f.account] for f in watching), "that all move")


async def _ended_by(followers: list[Follower], code: int) -> None:
    """Wait until the line of each has ended, and prove how."""
    await until(lambda: all(follower.codes for follower in followers), "the end of each line")
    assert {follower.codes[0] for follower in followers} == {code}
    for follower in followers:
        follower.codes.clear()


async def _come_again(api: ApiProcess, followers: list[Follower], number: int) -> None:
    await api.start()
    await until(lambda: all(follower.is_connected for follower in followers), "their return")
    await _have(api, number)
    for follower in followers:
        # While nobody listened.
        assert set(follower.codes) <= {LOST}
        follower.codes.clear()


async def _retrying(person: Client) -> None:
    """Let npm's client come again whenever it would."""
    while await person._told["waiting"].get() is not None:
        await person("retry")


async def test_all_go_on_whatever_is_killed(
    apis: tuple[list[ApiProcess], ValkeyServer],
    accounts: Accounts,
    admin: Connection,
    start_valkey: Callable[[int], ValkeyServer],
) -> None:
    (a, b), valkey = apis
    project = await accounts.project()
    ids = [await accounts.open(1_000, project_id=project) for _ in range(ACCOUNTS)]
    followers = [
        Follower(
            (a, b)[number % 2].url,
            ADMIN_KEY,
            [
                Followed(KINDS[place % len(KINDS)], ids[(number // 2 + place) % ACCOUNTS])
                for place in range(EACH)
            ],
        )
        for number in range(SOCKETS)
    ]
    of_a, of_b = followers[::2], followers[1::2]
    half = SOCKETS // 2 * EACH
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with (
        a,
        b,
        httpx.AsyncClient(trust_env=False, timeout=5, headers=headers) as http,
        client("socket.mjs") as person,
        asyncio.TaskGroup() as group,
    ):
        mover = Mover(http, [a, b], ids, followers)
        options = {"retry": True, "stubborn": True}
        await person("create", f"{b.url.replace('http', 'ws')}/graphql", ADMIN_KEY, options)
        await person("subscribe", "npm", BALANCE_FIGURES, {"id": str(ids[0])})
        retrying = group.create_task(_retrying(person))
        async with _following(followers):
            await _have(a, half)
            await _have(b, half + 1)
            async with _moving(mover):
                await _all_move(mover, followers)

                os.kill(valkey.pid, signal.SIGKILL)
                await _health([a, b], "degraded")
                await _all_move(mover, followers)
                start_valkey(valkey.port)
                await _health([a, b], "ok")
                await _all_move(mover, followers)

                a.kill()
                await _ended_by(of_a, LOST)
                await _all_move(mover, of_b)
                await _come_again(a, of_a, half)
                await _all_move(mover, followers)

                await b.end(signal.SIGTERM)
                await _ended_by(of_b, 1012)
                await _all_move(mover, of_a)
                await _come_again(b, of_b, half + 1)
                await _all_move(mover, followers)
            for account in ids:
                await mover.move(account)
            await _all_have_seen_the_last(mover, followers)
            await _npm_has_seen(person, mover.versions[ids[0]])
            assert person.counts["npm error"] == person.counts["npm complete"] == 0
            assert [follower.codes for follower in followers] == [[]] * SOCKETS
        retrying.cancel()
        await person("dispose")
        await _have(a, 0)
        await _have(b, 0)
        async with Redis.from_url(valkey.url()) as redis:

            async def silent() -> bool:
                return bool(await redis.pubsub_channels() == [])

            await until(silent, "no channel")
    await _rows_have_no_gap(admin, followers)


async def _all_have_seen_the_last(mover: Mover, followers: list[Follower]) -> None:
    def seen(followed: Followed) -> bool:
        last = mover.versions[followed.account]
        if followed.kind == "balance":
            return followed.version == last
        if followed.kind == "rows":
            return followed.rows[-1][-1:] == [last]
        return followed.holds.get(mover.held[followed.account]) == "SETTLED"

    every = [followed for follower in followers for followed in follower.followed]
    assert len(every) == SOCKETS * EACH
    await until(lambda: all(map(seen, every)), "that all have seen the last")


async def _npm_has_seen(person: Client, version: int) -> None:
    seen = 0
    while seen < version:
        [result] = await person.told("npm next")
        newer = result["data"]["creditBalanceUpdated"]["version"]
        assert newer >= seen
        seen = newer
    assert seen == version


async def _rows_have_no_gap(admin: Connection, followers: list[Follower]) -> None:
    """Prove that each connection was told every row between its first and its last."""
    ledger: dict[UUID, list[int]] = {}
    for row in await admin.fetch(
        "select account_id, version from credits.transactions order by 1, 2"
    ):
        ledger.setdefault(row["account_id"], []).append(row["version"])
    runs = 0
    for follower in followers:
        for followed in follower.followed:
            for run in followed.rows:
                if run:
                    written = ledger[followed.account]
                    start = written.index(run[0])
                    assert written[start : start + len(run)] == run
                    runs += 1
    # Three of each socket, over two connections.
    assert runs >= SOCKETS * 3 * 2
