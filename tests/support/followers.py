"""Clients that come again: each follows some feeds over one socket, whatever becomes of the server.

They keep to the contract: after a code that it calls passing they connect again, a little
later and not all at once, and begin every operation anew. What may never happen is looked
for in each message, and fails at once.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.support.live import (
    BALANCE_FIGURES,
    PROTOCOL,
    RESERVATIONS,
    TRANSACTIONS,
    init_message,
)

PASSING = (1001, 1006, 1012, 1013)
LOST = 1006
DOCUMENTS = {"balance": BALANCE_FIGURES, "rows": TRANSACTIONS, "holds": RESERVATIONS}


@dataclass(eq=False)
class Followed:
    """One subscription over all its connections."""

    kind: str
    account: UUID
    # The newest balance that was ever pushed.
    version: int = 0
    # The ledger's versions, a list for each connection.
    rows: list[list[int]] = field(default_factory=list)
    # How each reservation stood when it was last heard of.
    holds: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Begin anew: what is told is told from here."""
        self.rows.append([])
        self._snapshot = True

    def take(self, value: dict[str, Any]) -> None:
        """Look at one push."""
        if self.kind == "holds":
            self.holds[value["id"]] = value["status"]
        elif self.kind == "rows":
            run = self.rows[-1]
            assert not run or value["version"] > run[-1], (run, value)
            run.append(value["version"])
        else:
            # A snapshot may be what is known; a push is always newer.
            oldest = self.version if self._snapshot else self.version + 1
            assert value["version"] >= oldest, (self.version, value)
            self._snapshot = False
            self.version = value["version"]


class Follower:
    """One socket at a time, with all of its subscriptions."""

    def __init__(self, url: str, key: str, followed: list[Followed]) -> None:
        self._url = f"{url.replace('http', 'ws')}/graphql"
        self._key = key
        self.followed = followed
        # By what its connections ended.
        self.codes: list[int] = []
        self.is_connected = False

    async def follow(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with connect(self._url, subprotocols=[PROTOCOL], proxy=None) as connection:
                    await self._serve(connection)
            except ConnectionClosed as closed:
                code = LOST if closed.rcvd is None else closed.rcvd.code
                if code not in PASSING:
                    raise
                self.codes.append(code)
            except (OSError, EOFError, InvalidHandshake, InvalidMessage):
                # Nobody listens, or no more: it starts, or it ends.
                self.codes.append(LOST)
            self.is_connected = False
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def _serve(self, connection: ClientConnection) -> None:
        await connection.send(init_message(self._key))
        assert json.loads(await connection.recv())["type"] == "connection_ack"
        for number, followed in enumerate(self.followed):
            followed.begin()
            payload = {
                "query": DOCUMENTS[followed.kind],
                "variables": {"id": str(followed.account)},
            }
            message = {"id": str(number), "type": "subscribe", "payload": payload}
            await connection.send(json.dumps(message))
        self.is_connected = True
        while True:
            message = json.loads(await connection.recv())
            assert message["type"] == "next", message
            assert "errors" not in message["payload"], message
            [value] = message["payload"]["data"].values()
            self.followed[int(message["id"])].take(value)
