"""The real application over a real socket, and the documents of the contract.

A uvicorn server runs in the test's own event loop on a free port of loopback, so that
HTTP, server-sent events and WebSocket all pass through what production has.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from starlette.types import ASGIApp

from app.core.database import Database
from app.core.drain import Drain
from app.main import create_app, pool_limits
from app.server import Server, configured
from app.settings import Settings
from tests.support.callers import ADMIN_KEY, Caller

CONTRACT = Path(__file__).parents[2] / "frontend-contract"
SECRET_KEY = "secret-key-of-the-tests-and-of-nothing-else"  # noqa: S105  # as its text says

_STARTED_SECONDS = 20
_ANSWER_SECONDS = 20
_STIRS = 100


def documents() -> list[str]:
    """Return the names of all operations of the contract."""
    return sorted(path.stem for path in (CONTRACT / "operations").glob("*.graphql"))


def document(operation: str) -> str:
    """Return the text of an operation of the contract."""
    return (CONTRACT / "operations" / f"{operation}.graphql").read_text(encoding="utf-8")


def settings_for(database_url: str, redis_url: str, **changed: Any) -> Settings:
    """Return settings for a test: nothing is read from the environment's `.env`."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "secret_key": SECRET_KEY,
        "bootstrap_admin_key": ADMIN_KEY,
        "database_pool_idle": 1,
        # A key is asked for each time, so that a revoked one is refused at once.
        "key_cache_seconds": 0,
        # Read at start; a test that edits them while it serves says how soon it wants to see it.
        "origins_seconds": 600,
        **changed,
    }
    return Settings(_env_file=None, **values)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: httpx.Headers
    body: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The data of an answer without errors."""
        assert "errors" not in self.body, self.body
        data: dict[str, Any] = self.body["data"]
        return data

    @property
    def result(self) -> Any:
        """The only root field of an answer without errors."""
        [value] = self.data.values()
        return value

    @property
    def code(self) -> str:
        """The code of the only error, or of the refusal that came as data; else `OK`."""
        errors = self.body.get("errors")
        if errors:
            [error] = errors
            code: str = error["extensions"]["code"]
            return code
        [value] = self.body["data"].values()
        return value["code"] if isinstance(value, dict) and "message" in value else "OK"


@dataclass(slots=True)
class Api:
    """A client of one running server. A caller is one of `Caller`, or a key."""

    url: str
    app: ASGIApp
    database: Database
    http: httpx.AsyncClient
    keys: Mapping[Caller, str | None] = field(
        default_factory=lambda: {Caller.ANONYMOUS: None, Caller.ADMIN: ADMIN_KEY}
    )

    def headers(self, caller: Caller | str = Caller.ADMIN, **more: str) -> dict[str, str]:
        """Return the headers of a caller's request."""
        key = self.keys[caller] if isinstance(caller, Caller) else caller
        sent = {} if key is None else bearer_of(key)
        return sent | {name.replace("_", "-"): value for name, value in more.items()}

    async def send(
        self, query: str, variables: Any = None, caller: Caller | str = Caller.ADMIN
    ) -> Answer:
        """Send any document."""
        body = {"query": query, "variables": variables}
        return answer(await self.http.post("/graphql", json=body, headers=self.headers(caller)))

    async def run(
        self, operation: str, variables: Any = None, caller: Caller | str = Caller.ADMIN
    ) -> Answer:
        """Send a document of the contract."""
        return await self.send(document(operation), variables, caller)

    @asynccontextmanager
    async def watch(
        self, operation: str, variables: Any, caller: Caller | str = Caller.ADMIN
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Subscribe by server-sent events; yields the payloads as they come."""
        body = {"query": document(operation), "variables": variables}
        headers = self.headers(caller, accept="text/event-stream")
        async with self.http.stream("POST", "/graphql", json=body, headers=headers) as response:
            kind = response.headers["content-type"]
            assert kind.startswith("text/event-stream"), await response.aread()
            yield _payloads(response)

    async def first(
        self,
        operation: str,
        variables: Any,
        caller: Caller | str = Caller.ADMIN,
        stir: Callable[[], Awaitable[Any]] | None = None,
    ) -> Answer:
        """Subscribe, return the first payload as an answer, and leave.

        `stir` makes something happen, again and again until the feed tells of it: when a
        subscription begins to see what happens is not for its client to know.
        """
        body = {"query": document(operation), "variables": variables}
        headers = self.headers(caller, accept="text/event-stream")
        async with self.http.stream("POST", "/graphql", json=body, headers=headers) as response:
            if not response.headers["content-type"].startswith("text/event-stream"):
                await response.aread()
                return answer(response)
            told = asyncio.ensure_future(anext(_payloads(response)))
            for _ in range(_STIRS):
                if stir is not None:
                    await stir()
                await asyncio.wait([told], timeout=_ANSWER_SECONDS / _STIRS)
                if told.done():
                    break
            return Answer(response.status_code, response.headers, await told)


def bearer_of(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {key}"}


def answer(response: httpx.Response) -> Answer:
    """Read an answer; whatever was sent, it is a JSON object and no 5xx of our making."""
    body = response.json()
    assert isinstance(body, dict)
    for error in body.get("errors", ()):
        assert error["extensions"]["code"], error
    return Answer(response.status_code, response.headers, body)


async def _payloads(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    event = ""
    async for line in response.aiter_lines():
        if line.startswith("event:"):
            event = line.removeprefix("event:").strip()
        elif line.startswith("data:") and event == "next":
            yield json.loads(line.removeprefix("data:"))
        if event == "complete":
            return


class _QuietServer(Server):
    """Leaves the signals of the test run alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """Serve the application; stopped, it has let go of everything."""
    database = await Database.connect(settings.database_url, pool_limits(settings))
    drain = Drain()
    app = create_app(settings, database, drain)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    config = configured(app, settings)
    config.host, config.port = "127.0.0.1", 0
    server = _QuietServer(config, ready.set_result, drain)
    task = asyncio.create_task(server.serve(), name="server")
    try:
        either: list[asyncio.Future[Any]] = [task, ready]
        await asyncio.wait(either, timeout=_STARTED_SECONDS, return_when="FIRST_COMPLETED")
        assert ready.done(), "the server did not start"
        url = f"http://127.0.0.1:{ready.result()}"
        async with httpx.AsyncClient(
            base_url=url, timeout=_ANSWER_SECONDS, trust_env=False
        ) as http:
            yield Api(url, app, database, http)
    finally:
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await task


def unique(prefix: str = "k") -> str:
    """Return an idempotency key that was never used."""
    return f"{prefix}-{uuid4().hex}"
