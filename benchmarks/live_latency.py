"""The time from sending a mutation until a subscriber sees the new balance.

Real servers (Postgres durable), one API process with its default settings, one client that
mutates over HTTP and watches over WebSocket. The control, in turn with it: one bare Redis
publish of a message of the same size, to one bare subscriber, from the same event loop.

    make bench B=live_latency
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.harness import RESULTS, Installation, installed, keep, observed, summary

# More than the tenth of a second by which the feed paces one account's pushes.
PAUSE_SECONDS = 0.11
WARM_UP = 20
QUICK_SAMPLES = 5
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


@asynccontextmanager
async def subscribed(served: Installation) -> AsyncIterator[ClientConnection]:
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
    served: Installation, client: httpx.AsyncClient, socket: ClientConnection, number: int
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


async def measure(served: Installation, samples: int, seconds: float) -> dict[str, Any]:
    """Take samples of both, in turn."""
    taken: dict[str, list[float]] = {"push": [], "answer": [], "redis": []}
    deadline = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {served.key}"}
    async with (
        httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as client,
        subscribed(served) as socket,
        Redis.from_url(served.redis_url) as redis,
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


def table(taken: dict[str, list[float]]) -> str:
    """Return the figures for people."""
    names = {
        "push": "mutation sent to push received (WebSocket)",
        "answer": "mutation sent to answer received (HTTP)",
        "redis": "control: bare Redis publish to subscriber",
    }
    shown = ("median", "p95", "p99", "min", "max")
    lines = [f"{'milliseconds':44}{'samples':>8}" + "".join(f"{name:>9}" for name in shown)]
    for name, label in names.items():
        row = summary(taken[name])
        figures = "".join(f"{row[figure]:9.2f}" for figure in shown)
        lines.append(f"{label:44}{row['samples']:8.0f}{figures}")
    return "\n".join(lines)


async def run(samples: int, seconds: float) -> dict[str, Any]:
    """Start, measure, print; return the raw figures."""
    async with installed() as served:
        before = observed()
        taken = await measure(served, samples, seconds)
    print(table(taken))
    figures = {name: summary(values) for name, values in taken.items()}
    return {"machine": before, "load_after": os.getloadavg(), "figures": figures, "raw_ms": taken}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=300, help="Of each kind.")
    parser.add_argument("--seconds", type=float, default=300.0, help="Stop after that long.")
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS / "live_latency.json",
        help="Where the raw figures go.",
    )
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    arguments = parser.parse_args()
    if arguments.quick:
        asyncio.run(run(QUICK_SAMPLES, arguments.seconds))
        return
    keep(arguments.output, asyncio.run(run(arguments.samples, arguments.seconds)))


if __name__ == "__main__":
    main()
