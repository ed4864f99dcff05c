"""npm's clients, each driven by a small script of `tests/clients` over lines of JSON."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.live import LIMIT_SECONDS, LiveServer, until
from tests.support.peers import missing

CLIENTS = Path(__file__).parents[1] / "clients"

METRIC = "exchequer_feed_subscribers{"
_ANSWERS = ("done", "failed")


def need(*packages: str) -> None:
    """Skip the test where Node or one of its packages is missing."""
    lacking = [] if shutil.which("node") else ["Node"]
    if not all((CLIENTS / "node_modules" / package).exists() for package in packages):
        lacking.append("`npm ci` in tests/clients")
    if lacking:
        missing(", ".join(lacking))


class Client:
    """Does the deeds its script lists, and tells what happens to it meanwhile."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._told: dict[str, asyncio.Queue[list[Any] | None]] = defaultdict(asyncio.Queue)
        self._ended = False
        # How often it told what, from the beginning.
        self.counts: dict[str, int] = defaultdict(int)

    async def __call__(self, deed: str, *arguments: Any) -> None:
        """Do it; it must be possible. What happened before has been told by then."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([deed, *arguments]).encode() + b"\n")
        ok, *why = await self.told("answer")
        assert ok == "done", why

    async def told(self, what: str) -> list[Any]:
        """Return the next thing of a kind that it tells, in the order it was told."""
        queue = self._told[what]
        if self._ended:
            queue.put_nowait(None)
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                told = await queue.get()
        except TimeoutError:
            raise AssertionError(f"no {what!r} was told, but {dict(self.counts)}") from None
        assert told is not None, "the client is gone; what it wrote to stderr says why"
        return told

    async def follow(self) -> None:
        """Sort what it tells, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            what, *values = json.loads(line)
            self.counts[what] += 1
            if what in _ANSWERS:
                self._told["answer"].put_nowait([what, *values])
            else:
                self._told[what].put_nowait(values)
        self._ended = True
        for queue in self._told.values():
            queue.put_nowait(None)


@asynccontextmanager
async def client(script: str) -> AsyncIterator[Client]:
    """Run a script; it ends when its lines do."""
    process = await asyncio.create_subprocess_exec(
        "node", script, stdin=PIPE, stdout=PIPE, cwd=CLIENTS
    )
    assert process.stdin is not None
    running = Client(process)
    following = asyncio.create_task(running.follow(), name="what a client tells")
    try:
        yield running
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await following


async def next_of(running: Client, operation: str) -> Any:
    """Return the only root field of the next result of an operation."""
    [result] = await running.told(f"{operation} next")
    assert "errors" not in result, result
    [value] = result["data"].values()
    return value


async def subscribers_are(server: LiveServer, count: int) -> None:
    """Wait until the server's metrics say that it has so many subscriptions."""

    async def told() -> bool:
        answer = await http.get(f"http://127.0.0.1:{server.port}/metrics")
        lines = [line for line in answer.text.splitlines() if line.startswith(METRIC)]
        return sum(float(line.rpartition(" ")[2]) for line in lines) == count

    async with httpx.AsyncClient(trust_env=False) as http:
        await until(told, f"{count} subscriptions")
