"""Subscribers: one for each organization, for the whole run, over a few sockets.

Each notes the versions it is sent. Within a subscription they rise; after a reconnect
the snapshot may repeat what was seen last, and never goes behind it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from app.replay.errors import ReplayError

_DOCUMENT = "subscription($id: ID!) { creditBalanceUpdated(organizationId: $id) { version } }"
_PROTOCOL = Subprotocol("graphql-transport-ws")
_OPERATIONS = 50
_START_SECONDS = 30.0
# The server compares what it watches with Postgres every ten seconds, unless told otherwise.
_END_SECONDS = 30.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_FAULTS_KEPT = 20


class _BrokenError(Exception):
    """The socket says what it must not, or ends an operation: begin anew."""


class Watch:
    """Watches balances and judges their order."""

    def __init__(self, url: str, key: str, organization_ids: Sequence[str]) -> None:
        self._url = "ws" + url.removeprefix("http")
        self._key = key
        self._ids = organization_ids
        self._newest = [-1] * len(organization_ids)
        self._moved = asyncio.Event()
        self._trouble = "no answer"
        self.sockets = -(-len(organization_ids) // _OPERATIONS)
        self.pushes = 0
        self._signed_in = 0
        self.backwards: list[str] = []

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Watch for as long as the body runs; it begins when each has its snapshot."""
        numbers = range(len(self._ids))
        tasks = [
            asyncio.create_task(self._follow(numbers[first : first + _OPERATIONS]))
            for first in range(0, len(numbers), _OPERATIONS)
        ]
        try:
            if not await self._until(lambda: min(self._newest) >= 0, _START_SECONDS):
                raise ReplayError(f"the balances cannot be watched: {self._trouble}")
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for result in ended:
            if isinstance(result, Exception):
                raise result

    @property
    def reconnects(self) -> int:
        """How many sockets were lost and had again."""
        return max(0, self._signed_in - self.sockets)

    async def lagging(self, versions: Sequence[int]) -> list[int]:
        """Return the organizations that were not pushed these versions, after a while."""

        def behind() -> list[int]:
            pairs = enumerate(zip(self._newest, versions, strict=True))
            return [number for number, (newest, version) in pairs if newest < version]

        await self._until(lambda: not behind(), _END_SECONDS)
        return behind()

    def newest(self, number: int) -> int:
        """Return the version an organization was pushed last."""
        return self._newest[number]

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    self._moved.clear()
                    await self._moved.wait()
        return holds()

    async def _follow(self, numbers: Sequence[int]) -> None:
        pause = _FIRST_PAUSE
        while True:
            before = self.pushes
            try:
                async with connect(
                    self._url,
                    subprotocols=[_PROTOCOL],
                    compression=None,
                    proxy=None,
                ) as socket:
                    await self._listen(socket, numbers)
            except (OSError, TimeoutError, WebSocketException, _BrokenError) as error:
                self._trouble = str(error) or type(error).__name__
            pause = _FIRST_PAUSE if self.pushes > before else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _listen(self, socket: ClientConnection, numbers: Sequence[int]) -> None:
        await _send(
            socket, type="connection_init", payload={"Authorization": f"Bearer {self._key}"}
        )
        fresh = set(numbers)
        async for raw in socket:
            message = orjson.loads(raw)
            match message["type"]:
                case "next":
                    number = int(message["id"])
                    self._note(number, message["payload"], first=number in fresh)
                    fresh.discard(number)
                case "connection_ack":
                    self._signed_in += 1
                    for number in numbers:
                        await _send(
                            socket,
                            type="subscribe",
                            id=str(number),
                            payload={"query": _DOCUMENT, "variables": {"id": self._ids[number]}},
                        )
                case "ping":
                    await _send(socket, type="pong")
                case other:
                    raise _BrokenError(f"{other}: {message.get('payload')}")

    def _note(self, number: int, payload: dict[str, Any], *, first: bool) -> None:
        if payload.get("errors"):
            raise _BrokenError(payload["errors"][0]["message"])
        version = payload["data"]["creditBalanceUpdated"]["version"]
        newest = self._newest[number]
        if version < newest or (version == newest and not first):
            if len(self.backwards) < _FAULTS_KEPT:
                self.backwards.append(
                    f"organization {self._ids[number]}: version {version} was pushed after {newest}"
                )
        else:
            self._newest[number] = version
        self.pushes += 1
        self._moved.set()


async def _send(socket: ClientConnection, **message: object) -> None:
    await socket.send(orjson.dumps(message).decode())
