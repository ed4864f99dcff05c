"""A server to replay against, which can lose answers, be meddled with, and go away."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from click.testing import CliRunner
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from app.cli import main
from app.core.database import Database
from app.main import create_app, pool_limits
from app.seed import make_demo_key, seed
from app.settings import Settings
from tests.conftest import Servers
from tests.support.api import settings_for

Meddler = Callable[["Serving", bytes], Awaitable[bool]]


class Serving:
    """The application on a port of its own.

    `meddler` is told of each request to `/graphql`, counted in `requests`, before it is
    served; what it answers decides whether its answer is lost.
    """

    def __init__(self, settings: Settings, key: str, project_id: str) -> None:
        self.settings = settings
        self.key = key
        self.project_id = project_id
        self.requests = 0
        self.lost = 0
        self.meddler: Meddler | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/graphql"

    async def start(self) -> None:
        database = await Database.connect(self.settings.database_url, pool_limits(self.settings))
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._meddled(create_app(self.settings, database)),
                host="127.0.0.1",
                port=self._port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        # Not `serve`: it would take the test run's Ctrl-C.
        self._task = asyncio.create_task(self._server._serve())
        async with asyncio.timeout(20):
            while not self._server.started:
                assert not self._task.done(), "it did not start"
                await asyncio.sleep(0.005)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task

    def _meddled(self, app: ASGIApp) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or self.meddler is None:
                await app(scope, receive, send)
                return
            body = await _body(receive)
            self.requests += 1
            lose = await self.meddler(self, body)
            answer: list[Message] = []

            async def again() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            async def keep(message: Message) -> None:
                answer.append(message)

            await app(scope, again, keep)
            if lose:
                self.lost += 1
                await _lose(self.lost, send)
                return
            for message in answer:
                await send(message)

        return serve


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _lose(number: int, send: Send) -> None:
    """The work is done; its answer breaks off, or is a gateway's page, in turn."""
    status = 200 if number % 2 else 502
    page = b'{"data":' if number % 2 else b"<html>Bad gateway</html>"
    length = str(len(page) + number % 2).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"text/html"), (b"content-length", length)],
        }
    )
    await send({"type": "http.response.body", "body": page})


@pytest.fixture
async def serving(
    servers: Servers, database: Database, database_name: str
) -> AsyncIterator[Serving]:
    """The server, with the policy and the key that an installation starts with."""
    project_id = await seed(database)
    made = Serving(
        # Keys are believed for a while, as in production: the load is the client's.
        settings_for(servers.app_url(database_name), servers.redis, key_cache_seconds=5),
        await make_demo_key(database, project_id),
        str(project_id),
    )
    # A log line for each request would stand among what the command says.
    with capture_logs():
        await made.start()
        yield made
        await made.stop()


@pytest.fixture
def quiet_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a command run inside the tests: it keeps its hands off their logs and their `.env`."""
    monkeypatch.setattr("app.cli.configure_logging", lambda *_args, **_options: None)
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Replayed:
    """How one `exchequer replay` ended."""

    code: int | None
    out: str
    err: str
    raw: dict[str, Any]

    @property
    def told(self) -> dict[str, str]:
        """The lines of the summary by their names."""
        lines = [line for line in self.out.splitlines() if line.startswith("  ")]
        return {line[2:18].strip(): line[19:] for line in lines}


Replay = Callable[..., Coroutine[Any, Any, Replayed]]


@pytest.fixture
def replay(serving: Serving, tmp_path: Path, quiet_command: None) -> Replay:
    """Run the command as an operator would: beside the server, or in a process of its own."""
    assert quiet_command is None

    async def run(
        trace: Path,
        *options: str,
        key: str | None = None,
        audit: bool = True,
        process: bool = False,
    ) -> Replayed:
        raw = tmp_path / "raw.json"
        arguments = ["replay", str(trace), "--url", serving.url, "--json", str(raw), *options]
        environment: dict[str, str | None] = {
            "EXCHEQUER_KEY": key or serving.key,
            "DATABASE_URL": serving.settings.database_url if audit else None,
        }
        if process:
            code, out, err = await _in_a_process(arguments, environment)
        else:
            runner = CliRunner(env=environment)
            done = await asyncio.to_thread(runner.invoke, main, arguments)
            code, out, err = done.exit_code, done.stdout, done.stderr
        return Replayed(code, out, err, orjson.loads(raw.read_bytes()) if raw.exists() else {})

    return run


async def _in_a_process(
    arguments: list[str], environment: dict[str, str | None]
) -> tuple[int | None, str, str]:
    wanted = {name: value for name, value in environment.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("exchequer"),
        *arguments,
        env={name: v for name, v in os.environ.items() if name not in environment} | wanted,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
