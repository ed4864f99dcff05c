"""The API and the worker as processes of their own, to be killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import httpx

from app.core.servers.local import free_port

EXCHEQUER = Path(sys.executable).with_name("exchequer")
ADMIN_KEY = "admin-key-of-a-test-process-0123456789"
START_SECONDS = 30.0

RESERVE = """
mutation Reserve($input: ReserveCreditsInput!) {
  reserveCredits(input: $input) {
    __typename
    ... on ReserveCreditsSuccess { replayed reservation { id } }
    ... on Refusal { code }
  }
}
"""


class ExchequerProcess(ABC):
    """A command of `exchequer` that runs until it is told to end, or killed."""

    command: ClassVar[str]
    program: ClassVar[tuple[str, ...]] = (str(EXCHEQUER),)

    def __init__(
        self, database_url: str, redis_url: str, *, log: Path | None = None, **settings: str
    ) -> None:
        # Where it writes what it says; unset: where the test does.
        self._log = log
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "EXCHEQUER_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            "EXCHEQUER_LOG_LEVEL": "error",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    async def start(self) -> None:
        """Start and wait until it does its work."""
        with contextlib.ExitStack() as opened:
            log = None if self._log is None else opened.enter_context(self._log.open("ab"))
            process = subprocess.Popen(  # noqa: ASYNC220, S603  # our own command
                [*self.program, self.command], env=self._environment, stderr=log
            )
        self._process = process
        async with asyncio.timeout(START_SECONDS):
            while not await self._works():
                assert process.poll() is None, f"exchequer {self.command} ended"
                await asyncio.sleep(0.05)

    @abstractmethod
    async def _works(self) -> bool:
        """Whether it does its work by now."""

    async def ended(self) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        await asyncio.to_thread(self._process.wait, 30)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self._process = None

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait; it must end well."""
        if self._process is not None:
            ending, self._process = self._process, None
            ending.send_signal(how)
            assert await asyncio.to_thread(ending.wait, 30) == 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        await self.end()


class ApiProcess(ExchequerProcess):
    """`exchequer serve` on a port of its own."""

    command = "serve"

    def __init__(
        self, database_url: str, redis_url: str, *, log: Path | None = None, **settings: str
    ) -> None:
        self.port = free_port()
        super().__init__(database_url, redis_url, log=log, PORT=str(self.port), **settings)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _works(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                answer = await client.get(f"{self.url}/health/live")
            except httpx.TransportError:
                return False
        return answer.status_code == httpx.codes.OK


class WorkerProcess(ExchequerProcess):
    """`exchequer worker`. That it works shows by what gets done: nobody waits for it here."""

    command = "worker"

    async def _works(self) -> bool:
        return True


async def reserve(client: httpx.AsyncClient, url: str, account: str, key: str) -> dict[str, object]:
    """Reserve one credit; raises where the answer did not come."""
    answer = await client.post(
        f"{url}/graphql",
        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        json={
            "query": RESERVE,
            "variables": {
                "input": {"organizationId": account, "amount": "1", "idempotencyKey": key}
            },
        },
    )
    body = answer.json()
    if body.get("errors"):
        raise ConnectionError(body["errors"][0]["extensions"]["code"])
    result: dict[str, object] = body["data"]["reserveCredits"]
    return result
