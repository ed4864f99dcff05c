"""A TCP proxy before Postgres that breaks connections at the worst moment."""

import asyncio
import re
import socket
import struct
from enum import Enum
from types import TracebackType
from typing import Self

from app.core.servers.local import HOST

_CHUNK = 65_536
# Closing then says RST, as a machine does that knows nothing of the connection.
_AT_ONCE = struct.pack("ii", 1, 0)
_LENGTH = 4
_UNTYPED = {80877103, 80877104}  # asks for TLS or GSSAPI: the start-up message comes after
_PARSE, _BIND, _EXECUTE, _SYNC = b"PBES"
_CALL = re.compile(rb"\bcredits\.(reserve|settle|release|deduct)\b")
_CALL_OF_MANY = re.compile(rb"\bcredits\.(reserve|settle|release)_many\b")
_VISIT = re.compile(rb"\bcredits\.(expire_reservations|catch_up)\b")
_READY = b"Z\x00\x00\x00\x05"
_READY_SIZE = len(_READY) + 1


class Moving(Enum):
    """Who moves credits: callers of the API, or a worker on its visit to an account."""

    CALL = "call"
    CALL_OF_MANY = "call for many accounts"
    VISIT = "visit"


_MOVING = {_CALL: Moving.CALL, _CALL_OF_MANY: Moving.CALL_OF_MANY, _VISIT: Moving.VISIT}


class Sent:
    """Reads what a client sends, in pieces of any size, and knows when a commit is in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_started = False
        # Prepared statements that move credits, and which was bound, and executed.
        self._moving: dict[bytes, Moving] = {}
        self._bound: Moving | None = None
        self._executes: Moving | None = None

    def commits(self, piece: bytes) -> Moving | None:
        """Say what moves credits and is complete with this piece: it commits by itself."""
        self._buffer += piece
        complete: Moving | None = None
        while (message := self._message()) is not None:
            kind, body = message
            if kind == _PARSE:
                name, statement, _ = body.split(b"\0", 2)
                self._moving.pop(name, None)
                for pattern, moving in _MOVING.items():
                    if pattern.search(statement):
                        self._moving[name] = moving
            elif kind == _BIND:
                self._bound = self._moving.get(body.split(b"\0", 2)[1])
            elif kind == _EXECUTE:
                self._executes = self._bound
            elif kind == _SYNC:
                complete = complete or self._executes
                self._executes = None
        return complete

    def _message(self) -> tuple[int, bytes] | None:
        """Take one message off; its type is 0 where it has none."""
        header = 1 if self._is_started else 0
        if len(self._buffer) < header + _LENGTH:
            return None
        size = header + int.from_bytes(self._buffer[header : header + _LENGTH])
        if len(self._buffer) < size:
            return None
        kind = self._buffer[0] if header else 0
        body = bytes(self._buffer[header + _LENGTH : size])
        if not header:
            self._is_started = int.from_bytes(body[:_LENGTH]) not in _UNTYPED
        del self._buffer[:size]
        return kind, body


class _Line:
    """One connection through the proxy."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        # What it sent that moves credits, while that has no answer.
        self.inside: Moving | None = None
        self._is_swallowing = False

    async def carry(self, from_client: asyncio.StreamReader) -> None:
        """Carry bytes both ways until one side ends."""
        try:
            from_server, self._server = await asyncio.open_connection(HOST, self._proxy.upstream)
            ways = [
                asyncio.ensure_future(self._to_server(from_client, self._server)),
                asyncio.ensure_future(self._to_client(from_server)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                # That a side broke off is what this is for; it is told to the other one.
                outcomes = await asyncio.gather(*ways, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                    raise outcome
        except ConnectionError:
            self._proxy.refused += 1  # nobody listens: the client is told by the reset
        finally:
            self.reset()

    async def _to_server(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        sent = Sent()
        while piece := await client.read(_CHUNK):
            if moving := sent.commits(piece):
                self.inside = moving
                if self._proxy.cuts_left[moving] > 0:
                    self._proxy.cuts_left[moving] -= 1
                    self._is_swallowing = True
            server.write(piece)
            await server.drain()

    async def _to_client(self, server: asyncio.StreamReader) -> None:
        tail = b""
        while piece := await server.read(_CHUNK):
            tail = (tail + piece)[-_READY_SIZE:]
            is_ready = tail.startswith(_READY)
            if not self._is_swallowing:
                if is_ready:
                    self.inside = None
                self._client.write(piece)
                await self._client.drain()
            elif is_ready and self.inside is not None:
                # Committed, and the server has said so to nobody.
                self._proxy.cut[self.inside] += 1
                return

    def reset(self) -> None:
        """Break off both sides at once; what was not sent is never sent."""
        for side in (self._client, self._server):
            if side is not None and not side.transport.is_closing():
                side.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE
                )
                side.transport.abort()


class Proxy:
    """Carries connections to a Postgres on loopback."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        # So many of the next commits are carried out, and their answers swallowed.
        self.cuts_left = dict.fromkeys(Moving, 0)
        self.cut = dict.fromkeys(Moving, 0)
        self.refused = 0
        self._lines: dict[_Line, asyncio.Task[None]] = {}
        self.port = 0

    @property
    def inside(self) -> int:
        """How many calls Postgres was sent that move credits and have no answer yet."""
        return sum(line.inside is not None for line in self._lines)

    @property
    def inside_for_many(self) -> int:
        """How many of them decide for many accounts at once."""
        return sum(line.inside is Moving.CALL_OF_MANY for line in self._lines)

    def reset(self) -> int:
        """Reset every connection; return how many there were."""
        for line in self._lines:
            line.reset()
        return len(self._lines)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(self, writer)
        task = asyncio.ensure_future(line.carry(reader))
        self._lines[line] = task
        try:
            await task
        finally:
            del self._lines[line]

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.reset()
        await asyncio.gather(*self._lines.values())
        await self._server.wait_closed()
