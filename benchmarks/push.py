"""The push row: one hot account, a thousand dashboards, a socket each.

The account changes at the feed's pace, by deductions made in this process: to the API's they
are another process's, so all it does is push. The control then sends the very messages that
one of those dashboards got, at the same pace, to as many sockets.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import orjson
from redis.asyncio import Redis

from app.core.bus import Bus
from app.core.database import Database, PoolLimits
from app.core.servers.local import free_port
from app.credits import Credits
from app.credits.feed import Feed
from benchmarks.harness import Installation, listening, module, process_seconds
from benchmarks.load import Run, percentile
from benchmarks.plain_push import CHANNEL
from benchmarks.rounds import CONTROL, Round
from benchmarks.sockets import Listener, Tally, close_crowd, open_crowd
from benchmarks.targets import trusted
from schema.edge import PATH
from schema.sockets import PROTOCOL

# Ten a second, the most that the feed passes on.
TICK_SECONDS = 0.1
_QUIET_SECONDS = 0.5
_DRAIN_SECONDS = 30
_AMOUNT = 10_000
_EXPECTED = b'"data":{"creditBalanceUpdated":{"organizationId":"'

# Makes something happen, notes when, and returns the version that tells of it.
Tick = Callable[[int], Awaitable[bytes]]
_VERSION = re.compile(rb'"version":(\d+)}')


@dataclass
class Side:
    """A server, the sockets that hang on it, and what makes it push."""

    pid: int
    tally: Tally
    crowd: list[Listener]


async def drive(side: Side, tick: Tick, ticks: int) -> Run:
    """Make so much happen, wait until all of it has arrived, and say what it took."""
    side.tally.clear()
    used, began = process_seconds(side.pid), time.perf_counter()
    version = b""
    for number in range(ticks):
        await asyncio.sleep(max(0.0, began + number * TICK_SECONDS - time.perf_counter()))
        version = await tick(number)
    await _quiet(side)
    used = process_seconds(side.pid) - used
    for each in side.crowd:
        if each.failed is not None:
            raise each.failed
        if b'"version":' + version + b"}" not in each.last:
            raise RuntimeError("a socket did not get the last version")
    taken = sorted(side.tally.taken)
    # The rate at which messages arrived while there was anything to send.
    seconds = ticks * TICK_SECONDS
    return Run(
        len(taken), seconds, used, percentile(taken, 0.5) * 1000, percentile(taken, 0.99) * 1000
    )


async def _quiet(side: Side) -> None:
    async with asyncio.timeout(_DRAIN_SECONDS):
        received = -1
        while received != len(side.tally.taken):
            received = len(side.tally.taken)
            await asyncio.sleep(_QUIET_SECONDS)


async def push_rounds(
    served: Installation, account: UUID, *, sockets: int, ticks: int, pairs: int
) -> list[Round]:
    """Take turns, as `alternate` does."""
    rounds: list[Round] = []
    async with (
        dashboards(served, account, sockets) as api,
        _control(served, sockets) as plain,
        changes(served, account, api.tally) as change,
        Redis.from_url(served.redis_url) as redis,
    ):
        for number in range(pairs + 1):
            one = api.crowd[0]
            heard: list[bytes] = []
            one.heard = heard
            pushed = await drive(api, change, ticks)
            one.heard = None
            again = await drive(plain, _resend(redis, plain.tally, heard), ticks)
            if number:
                rounds.append({"trusted": pushed, CONTROL: again})
    return rounds


def _resend(redis: Redis, tally: Tally, messages: list[bytes]) -> Tick:
    async def resend(number: int) -> bytes:
        message = messages[number % len(messages)]
        version = _VERSION.findall(message)[-1]
        tally.sent[version] = time.perf_counter()
        await redis.publish(CHANNEL, message)
        return bytes(version)

    return resend


@asynccontextmanager
async def dashboards(served: Installation, account: UUID, sockets: int) -> AsyncIterator[Side]:
    """Open sockets that watch the balance of an account."""
    sign_in = orjson.dumps(
        {"type": "connection_init", "payload": {"authorization": f"Bearer {served.key}"}}
    )
    request = trusted("creditBalanceUpdated", {"organizationId": str(account)})
    subscribe = b'{"id":"1","type":"subscribe","payload":' + request + b"}"

    def greet(message: bytes | None) -> bytes | None:
        if message is None:
            return sign_in
        if b'"connection_ack"' in message:
            return subscribe
        if b'"next"' not in message or b'"errors"' in message:
            raise RuntimeError(f"no snapshot: {message!r:.500}")
        return None

    tally = Tally(_EXPECTED)
    crowd = await open_crowd(served.port, PATH, PROTOCOL, greet, tally, sockets)
    try:
        yield Side(served.processes["serve"], tally, crowd)
    finally:
        close_crowd(crowd)


@asynccontextmanager
async def _control(served: Installation, sockets: int) -> AsyncIterator[Side]:
    port = free_port()
    environment = {**served.environment, "PORT": str(port)}
    async with listening(module("benchmarks.plain_push"), environment) as process:
        tally = Tally(_EXPECTED)
        crowd = await open_crowd(port, "/", None, _silent, tally, sockets)
        try:
            yield Side(process.pid, tally, crowd)
        finally:
            close_crowd(crowd)


def _silent(_message: bytes | None) -> None:
    """Say nothing: whoever connects is sent everything."""


@asynccontextmanager
async def changes(served: Installation, account: UUID, tally: Tally) -> AsyncIterator[Tick]:
    """Deduct from an account, as another process of the application does."""
    database = await Database.connect(served.database_url, PoolLimits(min_size=1, max_size=1))
    bus = Bus(served.redis_url)
    credits = Credits(database, Feed(bus))
    bus.start()

    async def change(_number: int) -> bytes:
        key = f"push-{time.time_ns()}"
        row = await credits.deduct(account, _AMOUNT, key, feature="assistant")
        version = b"%d" % row.version
        # It was queued, but not sent: that is for another task.
        tally.sent[version] = time.perf_counter()
        return version

    try:
        yield change
    finally:
        await bus.stop()
        await database.close()
