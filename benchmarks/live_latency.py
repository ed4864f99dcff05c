"""The time from sending a mutation until a subscriber sees the new balance.

Real servers (Postgres durable), one API process with its default settings, one client that
mutates over HTTP and watches over WebSocket. The control, in turn with it: one bare Redis
publish of a message of the same size, to one bare subscriber, from the same event loop.

    python benchmarks/live_latency.py --output /tmp/live_latency.json
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ValkeyServer
from app.core.servers.local import free_port
from app.seed import make_demo_key, seed_demo
from db.migrate import migrate

# More than the tenth of a second by which the feed paces one account's pushes.
PAUSE_SECONDS = 0.11
WARM_UP = 20
ANSWER_SECONDS = 10.0
MESSAGE_BYTES = 620

SUBSCRIPTION = """
subscription($id: ID!) { creditBalanceUpdated(organizationId: $id) { version available } }
"""
MUTATION = """
mutation($input: DeductCreditsInput!) {
  deductCredits(input: $input) {
    __typename
    ... on DeductCreditsSuccess { balance { version } }
  }
}
"""


@dataclass(frozen=True)
class Api:
    """One API process, and who may use it."""

    port: int
    organization: str
    key: str


@asynccontextmanager
async def api(postgres: PostgresServer, valkey: ValkeyServer) -> AsyncIterator[Api]:
    """Migrate, seed, and serve from a process of its own."""
    password = secrets.token_urlsafe(16)
    admin_url, url = postgres.url("exchequer"), postgres.url("exchequer", "exchequer", password)
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute("create database exchequer")
    await connection.close()
    await migrate(admin_url, app_url=url)
    database = await Database.connect(url, PoolLimits(min_size=1, max_size=2))
    demo = await seed_demo(database)
    key = await make_demo_key(database, demo.project_id)
    await database.close()
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "REDIS_URL": valkey.url(),
        "PORT": str(port),
        "EXCHEQUER_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "app.cli", "serve"]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        await until_ready(port)
        yield Api(port, str(demo.organization_id), key)
    finally:
        process.terminate()
        await process.wait()


async def until_ready(port: int) -> None:
    """Wait until the process answers."""
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            # Not listening yet.
            with contextlib.suppress(httpx.TransportError):
                response = await client.get(f"http://127.0.0.1:{port}/health")
                if response.json()["redis"] == "up":
                    return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def subscribed(served: Api) -> AsyncIterator[ClientConnection]:
    """Watch the balance; past the snapshot."""
    async with connect(
        f"ws://127.0.0.1:{served.port}/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        proxy=None,
    ) as socket:
        sign_in = {"Authorization": f"Bearer {served.key}"}
        await socket.send(json.dumps({"type": "connection_init", "payload": sign_in}))
        await socket.recv()
        payload = {"query": SUBSCRIPTION, "variables": {"id": served.organization}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        await socket.recv()
        yield socket


async def mutate(
    served: Api, client: httpx.AsyncClient, socket: ClientConnection, number: int
) -> tuple[float, float]:
    """Return milliseconds from sending a mutation to its push, and to its answer."""
    values = {
        "organizationId": served.organization,
        "amount": "0.01",
        "idempotencyKey": f"latency-{number}",
    }
    body = {"query": MUTATION, "variables": {"input": values}}

    async def answer() -> tuple[int, float]:
        response = await client.post("/graphql", json=body)
        at = time.perf_counter()
        return response.json()["data"]["deductCredits"]["balance"]["version"], at

    began = time.perf_counter()
    answering = asyncio.create_task(answer())
    async with asyncio.timeout(ANSWER_SECONDS):
        message = json.loads(await socket.recv())
        pushed = time.perf_counter()
        version, answered = await answering
    if message["payload"]["data"]["creditBalanceUpdated"]["version"] != version:
        raise RuntimeError("the push is not that of the mutation")
    return (pushed - began) * 1000, (answered - began) * 1000


async def publish(redis: Redis, pubsub: PubSub) -> float:
    """Return milliseconds from a bare publish to its subscriber."""

    async def send() -> None:
        await redis.publish("latency", b"x" * MESSAGE_BYTES)

    began = time.perf_counter()
    publishing = asyncio.create_task(send())
    async with asyncio.timeout(ANSWER_SECONDS):
        while True:
            message = await pubsub.get_message(timeout=ANSWER_SECONDS)
            if message is not None and message["type"] == "message":
                break
        took = (time.perf_counter() - began) * 1000
        await publishing
    return took


async def measure(served: Api, redis_url: str, samples: int, seconds: float) -> dict[str, Any]:
    """Take samples of both, in turn."""
    taken: dict[str, list[float]] = {"push": [], "answer": [], "redis": []}
    deadline = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {served.key}"}
    base = f"http://127.0.0.1:{served.port}"
    async with (
        httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as client,
        subscribed(served) as socket,
        Redis.from_url(redis_url) as redis,
        redis.pubsub() as pubsub,
    ):
        await pubsub.subscribe("latency")
        for number in range(WARM_UP + samples):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(PAUSE_SECONDS)
            push, answered = await mutate(served, client, socket, number)
            bare = await publish(redis, pubsub)
            if number >= WARM_UP:
                for name, value in (("push", push), ("answer", answered), ("redis", bare)):
                    taken[name].append(value)
    return taken


def summary(values: list[float]) -> dict[str, float]:
    """Return the figures of a series, in milliseconds."""
    return {
        "samples": len(values),
        "median": statistics.median(values),
        "p95": statistics.quantiles(values, n=20)[-1],
        "min": min(values),
        "max": max(values),
    }


def table(taken: dict[str, list[float]]) -> str:
    """Return the figures for people."""
    names = {
        "push": "mutation sent to push received (WebSocket)",
        "answer": "mutation sent to answer received (HTTP)",
        "redis": "control: bare Redis publish to subscriber",
    }
    lines = [f"{'milliseconds':44}{'samples':>8}{'median':>9}{'p95':>9}{'min':>9}{'max':>9}"]
    for name, label in names.items():
        row = summary(taken[name])
        figures = "".join(f"{row[figure]:9.2f}" for figure in ("median", "p95", "min", "max"))
        lines.append(f"{label:44}{row['samples']:8.0f}{figures}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return on what it ran."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607  # the developer's own git
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }


async def run(samples: int, seconds: float) -> dict[str, Any]:
    """Start, measure, print; return the raw figures."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        postgres = servers.enter_context(PostgresServer(Path(folder) / "postgres"))
        valkey = servers.enter_context(ValkeyServer(Path(folder) / "valkey"))
        async with api(postgres, valkey) as served:
            before = machine()
            taken = await measure(served, valkey.url(), samples, seconds)
    print(table(taken))
    figures = {name: summary(values) for name, values in taken.items()}
    return {"machine": before, "load_after": os.getloadavg(), "figures": figures, "raw_ms": taken}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=300, help="Of each kind.")
    parser.add_argument("--seconds", type=float, default=300.0, help="Stop after that long.")
    parser.add_argument("--output", type=Path, required=True, help="Where the raw figures go.")
    arguments = parser.parse_args()
    raw = asyncio.run(run(arguments.samples, arguments.seconds))
    arguments.output.write_text(json.dumps(raw, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
