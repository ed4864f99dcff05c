"""One request over each of the ways that lead to the engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.api import Api
from tests.support.callers import Caller

LIMIT_SECONDS = 15.0
PROTOCOL = Subprotocol("graphql-transport-ws")
JSON_FIELDS = ("variables", "extensions")


class Way(StrEnum):
    """How a request may come."""

    POST = "post"
    GET = "get"
    EVENTS = "events by post"
    EVENTS_BY_GET = "events by get"
    SOCKET = "socket"


# A mutation may not come by GET, a subscription only where answers can follow each other.
MUTATING = (Way.POST, Way.EVENTS, Way.SOCKET)
STREAMING = (Way.EVENTS, Way.EVENTS_BY_GET, Way.SOCKET)


@dataclass(frozen=True, slots=True)
class Told:
    """The first thing that a request is told; a socket has no status."""

    status: int | None
    payload: dict[str, Any]

    @property
    def data(self) -> Any:
        assert "errors" not in self.payload, self.payload
        return self.payload["data"]

    @property
    def error(self) -> dict[str, Any]:
        """The only error of what never ran."""
        assert "data" not in self.payload, self.payload
        [error] = self.payload["errors"]
        assert isinstance(error, dict)
        return error

    @property
    def code(self) -> str:
        return str(self.error["extensions"]["code"])


class Line:
    """A socket that has signed in."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._names = count(1)

    async def ask(self, body: Mapping[str, Any]) -> Told:
        """Run an operation; return what it told first, and end it."""
        name = str(next(self._names))
        await self._connection.send(
            json.dumps({"id": name, "type": "subscribe", "payload": dict(body)})
        )
        async with asyncio.timeout(LIMIT_SECONDS):
            # What is left of an earlier one may come first.
            while (message := json.loads(await self._connection.recv()))["id"] != name:
                assert message["type"] in ("next", "complete"), message
        if message["type"] == "error":
            return Told(None, {"errors": message["payload"]})
        assert message["type"] == "next", message
        await self._connection.send(json.dumps({"id": name, "type": "complete"}))
        return Told(None, message["payload"])


@asynccontextmanager
async def line(api: Api, caller: Caller | str = Caller.ADMIN) -> AsyncIterator[Line]:
    """Open a socket and sign in."""
    url = api.url.replace("http", "ws", 1) + "/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None, close_timeout=2) as connection:
        sent = {name.title(): value for name, value in api.headers(caller).items()}
        await connection.send(json.dumps({"type": "connection_init", "payload": sent}))
        async with asyncio.timeout(LIMIT_SECONDS):
            assert json.loads(await connection.recv())["type"] == "connection_ack"
        yield Line(connection)


async def ask(
    api: Api, way: Way, body: Mapping[str, Any], caller: Caller | str = Caller.ADMIN
) -> Told:
    """Send a request, return the first thing it is told, and leave."""
    if way is Way.SOCKET:
        async with line(api, caller) as opened:
            return await opened.ask(body)
    headers = api.headers(caller) | {"graphql-require-preflight": "1"}
    if way in STREAMING:
        headers["accept"] = "text/event-stream"
    async with asyncio.timeout(LIMIT_SECONDS):
        if way in (Way.GET, Way.EVENTS_BY_GET):
            params = {
                name: json.dumps(value) if name in JSON_FIELDS else value
                for name, value in body.items()
            }
            request = api.http.build_request("GET", "/graphql", params=params, headers=headers)
        else:
            request = api.http.build_request("POST", "/graphql", json=dict(body), headers=headers)
        response = await api.http.send(request, stream=True)
        try:
            return Told(response.status_code, await _first(response))
        finally:
            await response.aclose()


async def _first(response: httpx.Response) -> dict[str, Any]:
    if not response.headers["content-type"].startswith("text/event-stream"):
        await response.aread()
        whole = response.json()
        assert isinstance(whole, dict)
        return whole
    async for text in response.aiter_lines():
        name, _, value = text.partition(": ")
        if name == "data" and value:
            told = json.loads(value)
            assert isinstance(told, dict)
            return told
    raise AssertionError("the stream ended without a word")
