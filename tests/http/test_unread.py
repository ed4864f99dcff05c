"""A client of a socket that sends and takes nothing: what waits for it is bounded."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest

from schema import sockets
from tests.support.api import Api

SENT = 2_000
# As many operations as a socket may have, and answers beside them.
HELD = 100 + sockets._UNTAKEN
MESSAGES: dict[str, dict[str, Any]] = {
    "ping": {"type": "ping"},
    "subscribe": {"type": "subscribe", "payload": {"query": "{ nothing }"}},
}


class Client:
    """Sends all it has to say, and takes the answer to its first message alone until it is let."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.heard = 0
        self.takes = asyncio.Event()
        self._message = message
        self._told = 0

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.heard += 1
        if self.heard == 1:
            return {"type": "websocket.connect"}
        if self.heard > SENT:
            return {"type": "websocket.disconnect", "code": 1000}
        said = {"type": "connection_init"} if self.heard == 2 else self._message
        text = orjson.dumps({"id": str(self.heard), **said}).decode()
        return {"type": "websocket.receive", "text": text}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self._told += message["type"] == "websocket.send"
        if self._told > 1:
            await self.takes.wait()


@pytest.mark.parametrize("what", MESSAGES)
async def test_who_takes_nothing_is_not_listened_to(what: str, site: Api) -> None:
    client = Client(MESSAGES[what])
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "headers": [(b"host", b"x")],
        "subprotocols": [sockets.PROTOCOL],
    }
    serving = asyncio.ensure_future(site.app(scope, client.receive, client.send))
    known = 0
    while client.heard != known or known < HELD:
        known = client.heard
        await asyncio.sleep(0.05)
    # Two came before those that are not answered.
    assert client.heard == HELD + 2
    client.takes.set()
    async with asyncio.timeout(20):
        await serving
    assert client.heard == SENT + 1
