"""Live feeds from end to end: a real server, real sockets, real streams.

The server runs in the test's own loop, so that a test may look inside it; what goes over
the wire is the real thing. Waiting has a limit everywhere, and a limit is never the proof.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from inspect import isawaitable
from itertools import count
from typing import Any, Self, cast
from unittest.mock import patch
from uuid import UUID, uuid4

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.core.bus import Bus
from app.core.database import Database
from app.core.drain import Drain
from app.credits import Credits
from app.credits.feed import Feed, News
from app.main import create_app, make_engine, pool_limits
from app.server import Server, configured
from app.settings import Settings
from schema.context import Services
from schema.engine import Engine
from schema.groups import Groups, Member

ADMIN_KEY = "the administrator of these tests and of nothing else"
LIMIT_SECONDS = 15.0
POLL_SECONDS = 0.005
PROTOCOL = Subprotocol("graphql-transport-ws")

BALANCE = "subscription($id: ID!) { creditBalanceUpdated(organizationId: $id) { %s } }"
BALANCE_FIGURES = BALANCE % "version available reserved"
TRANSACTIONS = """
subscription($id: ID!) {
  creditTransactionAdded(organizationId: $id) { version type amount availableAfter }
}
"""
RESERVATIONS = """
subscription($id: ID!) {
  reservationUpdated(organizationId: $id) { id status amount settledAmount expiresAt }
}
"""

Payload = dict[str, Any]


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait until something is so; it must become so. The condition may be a coroutine's."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (await so if isawaitable(so := condition()) else so):
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what} did not come about") from None


class Stream:
    """One subscription as a client sees it."""

    def __init__(self, messages: AsyncIterator[Payload]) -> None:
        self._messages = messages

    async def message(self) -> Payload:
        """Return the next message, whatever it is."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await anext(self._messages)

    async def next(self) -> Payload:
        """Return the next push: the only root field of a `next` without errors."""
        message = await self.message()
        assert message["type"] == "next", message
        assert "errors" not in message["payload"], message
        [value] = message["payload"]["data"].values()
        assert isinstance(value, dict)
        return value

    async def until_version(self, version: int) -> list[Payload]:
        """Return pushes up to the one of a version; versions must only rise."""
        pushes = [await self.next()]
        while pushes[-1]["version"] < version:
            pushes.append(await self.next())
            assert pushes[-1]["version"] > pushes[-2]["version"]
        assert pushes[-1]["version"] == version
        return pushes

    async def refused(self) -> str:
        """Return the code of the error that comes next."""
        message = await self.message()
        payload = message["payload"]
        [error] = payload["errors"] if message["type"] == "next" else payload
        assert error["message"], error
        code: str = error["extensions"]["code"]
        return code

    async def completed(self) -> None:
        """Prove that the next message is the end."""
        assert (await self.message())["type"] == "complete"


class Socket:
    """A client of graphql-transport-ws; what arrives is sorted by operation."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._queues: dict[str, asyncio.Queue[Payload | None]] = {}
        self._streams: dict[Stream, asyncio.Queue[Payload | None]] = {}
        self._ids = count(1)
        self._reader = asyncio.create_task(self._read())

    @property
    def operations(self) -> list[str]:
        """The names of all operations that were begun."""
        return list(self._queues)

    async def subscribe(self, document: str, account_id: UUID) -> tuple[str, Stream]:
        """Start an operation; return its id and what comes of it."""
        name = str(next(self._ids))
        stream = self.expect(name)
        payload = {"query": document, "variables": {"id": str(account_id)}}
        await self.send({"id": name, "type": "subscribe", "payload": payload})
        return name, stream

    def expect(self, name: str) -> Stream:
        """Return what comes by a name from now on."""
        queue = self._queues[name] = asyncio.Queue()
        stream = Stream(_drain(queue))
        self._streams[stream] = queue
        return stream

    def pending(self, stream: Stream) -> int:
        """Return how many messages have come that nobody has looked at yet."""
        return self._streams[stream].qsize()

    async def watch(self, document: str, account_id: UUID) -> Stream:
        """Start an operation; return what comes of it."""
        return (await self.subscribe(document, account_id))[1]

    async def send(self, message: Payload) -> None:
        """Send any message."""
        await self.connection.send(json.dumps(message))

    async def close(self) -> None:
        """Leave."""
        await self.connection.close()
        await self._reader

    async def closed(self) -> int | None:
        """Return the code by which the server ended it."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.connection.wait_closed()
        return self.connection.close_code

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self.connection:
                message = json.loads(text)
                if message.get("id") in self._queues:
                    self._queues[message["id"]].put_nowait(message)
        for queue in self._queues.values():
            queue.put_nowait(None)


async def _drain(queue: "asyncio.Queue[Payload | None]") -> AsyncIterator[Payload]:
    while (message := await queue.get()) is not None:
        yield message


class LiveServer:
    """One API process, as far as Postgres and Redis can tell."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.services: Services
        self.engine: Engine
        self.drain = Drain()
        self.port = 0
        self._server: Server
        self._task: asyncio.Task[None] | None = None
        self._http = httpx.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS)

    @property
    def feed(self) -> Feed:
        return self.services.feed

    @property
    def bus(self) -> Bus:
        return self.feed._bus

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def config(self, app: Any) -> uvicorn.Config:
        config = configured(app, self.settings)
        config.host, config.port = "127.0.0.1", 0
        return config

    async def start(self) -> Self:
        """Start, and return when it listens."""

        def capture(**made: Any) -> Services:
            self.services = Services(**made)
            return self.services

        database = await Database.connect(self.settings.database_url, pool_limits(self.settings))

        def keep(settings: Settings) -> Engine:
            self.engine = make_engine(settings)
            return self.engine

        with patch("app.main.Services", capture), patch("app.main.make_engine", keep):
            app = create_app(self.settings, database, self.drain)

        def ready(port: int) -> None:
            self.port = port

        self._server = Server(self.config(app), ready, self.drain)
        # The signals belong to pytest.
        self._server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
        self._task = asyncio.create_task(self._server.serve(), name="server")
        await until(lambda: self.port or not self.running, "the server's start")
        assert self.running
        return self

    async def stop(self) -> None:
        """Leave, and let it stop."""
        await self._http.aclose()
        await self.stop_listening()

    async def stop_listening(self) -> None:
        """Let it stop gracefully, whoever is still connected."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
            self._task = None

    async def send(self, document: str, variables: Payload, key: str = ADMIN_KEY) -> Payload:
        """Run a document over HTTP; return its only root field."""
        response = await self._http.post(
            f"http://127.0.0.1:{self.port}/graphql",
            json={"query": document, "variables": variables},
            headers={"authorization": f"Bearer {key}"},
        )
        answer = response.json()
        assert "errors" not in answer, answer
        [value] = answer["data"].values()
        assert isinstance(value, dict)
        return value

    async def do(self, mutation: str, account_id: UUID, **values: Any) -> Payload:
        """Run a mutation that moves credits; it must succeed. Keys are made up."""
        name = mutation[0].upper() + mutation[1:]
        if mutation in ("reserveCredits", "deductCredits", "grantCredits"):
            values.setdefault("idempotencyKey", f"{mutation}-{uuid4()}")
        figures = "balance { version available reserved }"
        if "eserv" in mutation or mutation in ("settleCredits", "releaseCredits"):
            figures += " reservation { id status amount settledAmount expiresAt }"
        document = (
            f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ __typename"
            f" ... on {name}Success {{ {figures} }} ... on Refusal {{ code message }} }} }}"
        )
        values["organizationId"] = str(account_id)
        done = await self.send(document, {"input": values})
        assert done["__typename"] == f"{name}Success", done
        return done

    async def deduct(self, account_id: UUID, amount: str = "1", **values: Any) -> Payload:
        """Charge an account; return its balance afterwards."""
        done = await self.do("deductCredits", account_id, amount=amount, **values)
        balance: Payload = done["balance"]
        return balance

    @property
    def groups(self) -> Groups:
        return self.engine.groups

    def members(self, account_id: UUID) -> list[Member]:
        """Return the subscribers of an account."""
        return [
            member
            for group in self.groups
            for member in group.members
            if account_id in [organization for _, organization in group.context.required]
        ]

    async def watched(self, account_id: UUID, by: int = 1) -> None:
        """Wait until an account has so many subscribers, each past its snapshot."""

        def past() -> int:
            watches = self.feed._watches.get(account_id, ())
            if any(watch._version < 0 for watch in watches):
                return 0
            # Each has told its first, or waits for what comes next.
            return len([each for each in self.members(account_id) if each.is_free.is_set()])

        await until(lambda: past() == by, f"{by} subscribers")

    async def handshake(self, **options: Any) -> ClientConnection:
        """Open a WebSocket and say nothing yet."""
        options.setdefault("subprotocols", [PROTOCOL])
        url = f"ws://127.0.0.1:{self.port}/graphql"
        return await connect(url, proxy=None, close_timeout=2, **options)

    @asynccontextmanager
    async def socket(self, key: str | None = ADMIN_KEY, **options: Any) -> AsyncIterator[Socket]:
        """Open a WebSocket and sign in."""
        connection = await self.handshake(**options)
        try:
            await connection.send(init_message(key))
            async with asyncio.timeout(LIMIT_SECONDS):
                assert json.loads(await connection.recv())["type"] == "connection_ack"
            socket = Socket(connection)
            yield socket
            await socket.close()
        finally:
            await connection.close()

    @asynccontextmanager
    async def events(
        self, document: str, account_id: UUID, key: str = ADMIN_KEY
    ) -> AsyncIterator[Stream]:
        """Subscribe by server-sent events."""
        async with self._http.stream(
            "POST",
            f"http://127.0.0.1:{self.port}/graphql",
            json={"query": document, "variables": {"id": str(account_id)}},
            headers={"authorization": f"Bearer {key}", "accept": "text/event-stream"},
        ) as response:
            assert response.headers["content-type"] == "text/event-stream"
            yield Stream(_events(response))


def init_message(key: str | None = ADMIN_KEY) -> str:
    """Return the first message of a socket."""
    payload = {} if key is None else {"Authorization": f"Bearer {key}"}
    return json.dumps({"type": "connection_init", "payload": payload})


async def _events(response: httpx.Response) -> AsyncIterator[Payload]:
    kind = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name.startswith("data") and kind == "next":
            yield {"type": "next", "payload": json.loads(value)}
        elif name.startswith("data"):
            yield {"type": kind}


class Tape:
    """Stands where the bus stands: what would be published is kept, to be sent by a test."""

    def __init__(self, database: Database) -> None:
        self.news: list[News] = []
        self.credits = Credits(database, Feed(cast("Bus", self)))

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Nothing is heard, so nothing is missed."""

    def publish(self, channel: str, news: News) -> None:
        assert channel == f"credits:{{{news.balance.account_id}}}"
        self.news.append(news)


@contextmanager
def counted(metric: Any) -> Iterator[Callable[[], float]]:
    """Tell by how much a counter has risen since."""
    before = metric._value.get()
    yield lambda: metric._value.get() - before
