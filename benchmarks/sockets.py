"""A crowd of WebSockets that takes what comes: raw frames, counted, cheap for the machine."""

import asyncio
import os
import resource
import time
from base64 import b64encode
from collections.abc import Callable
from typing import cast

_OPENING = 50
_OPEN_SECONDS = 60
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80
_SHORT, _MEDIUM = 126, 127
_VERSION = b'"version":'

# What a socket says in answer to a message; None: nothing. The last one makes it ready.
Greeting = Callable[[bytes | None], bytes | None]


class Tally:
    """What a crowd has received since it was last cleared."""

    def __init__(self, expected: bytes) -> None:
        # Each message that counts must hold it.
        self.expected = expected
        # When each version was sent.
        self.sent: dict[bytes, float] = {}
        self.taken: list[float] = []

    def clear(self) -> None:
        """Begin anew."""
        self.sent.clear()
        self.taken.clear()


class Listener(asyncio.Protocol):
    """One socket: shakes hands, greets, then counts."""

    def __init__(self, head: bytes, greet: Greeting, tally: Tally) -> None:
        self._head = head
        self._greet = greet
        self._tally = tally
        self._transport: asyncio.Transport
        self._rest = b""
        self._is_open = False
        self.last = b""
        # All that was received, where somebody wants to know.
        self.heard: list[bytes] | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits for it; nobody does once a crowd was closed."""
        self._fail(exc or ConnectionError("the server closed a socket"))

    def close(self) -> None:
        """Leave."""
        self.failed = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take the frames that have come whole."""
        if self._rest:
            data = self._rest + data
        at = 0
        if not self._is_open:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:  # noqa: PLR2004  # not found
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 101 "):
                self._fail(RuntimeError(f"no socket: {data!r:.200}"))
                return
            self._is_open = True
            self._say(self._greet(None))
        size = len(data)
        while size - at >= 2:  # noqa: PLR2004  # the shortest head of a frame
            length, start = data[at + 1], at + 2
            if length == _SHORT:
                length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == _MEDIUM:
                length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if start > size or start + length > size:
                break
            self._take(data[at], data[start : start + length])
            at = start + length
        self._rest = data[at:]

    def _take(self, head: int, payload: bytes) -> None:
        kind = head & 0x0F
        if kind == _PING:
            self._send(_PONG, payload)
        elif kind == _CLOSE:
            self._fail(RuntimeError(f"closed: {payload!r}"))
        elif kind != _TEXT or not head & _FINAL:
            self._fail(RuntimeError(f"not a whole text: {head}"))
        elif not self.ready.done():
            self._say(self._greet(payload))
        elif self._tally.expected not in payload:
            self._fail(RuntimeError(f"not what was expected: {payload!r:.500}"))
        else:
            self._count(payload)

    def _count(self, payload: bytes) -> None:
        now = time.perf_counter()
        at = payload.rfind(_VERSION) + len(_VERSION)
        sent = self._tally.sent.get(payload[at : payload.find(b"}", at)])
        if sent is None:
            self._fail(RuntimeError(f"nobody sent this: {payload!r:.500}"))
            return
        self._tally.taken.append(now - sent)
        self.last = payload
        if self.heard is not None:
            self.heard.append(payload)

    def _say(self, text: bytes | None) -> None:
        if text is not None:
            self._send(_TEXT, text)
        elif not self.ready.done():
            self.ready.set_result(None)

    def _send(self, kind: int, payload: bytes) -> None:
        # A mask of zeros is a mask, and costs the client nothing.
        length = len(payload)
        size = (
            bytes([_MASKED | length])
            if length < _SHORT
            else bytes([_MASKED | _SHORT]) + length.to_bytes(2, "big")
        )
        self._transport.write(bytes([_FINAL | kind]) + size + bytes(4) + payload)

    def _fail(self, error: Exception) -> None:
        self.failed = self.failed or error
        if not self.ready.done():
            self.ready.set_exception(error)


async def open_crowd(
    port: int, path: str, protocol: str | None, greet: Greeting, tally: Tally, size: int
) -> list[Listener]:
    """Open so many sockets, a few at a time, and wait until each is ready."""
    loop = asyncio.get_running_loop()
    crowd: list[Listener] = []
    async with asyncio.timeout(_OPEN_SECONDS):
        while len(crowd) < size:
            some = [
                (
                    await loop.create_connection(
                        lambda: Listener(_handshake(path, protocol), greet, tally),
                        "127.0.0.1",
                        port,
                    )
                )[1]
                for _ in range(min(_OPENING, size - len(crowd)))
            ]
            crowd += some
            await asyncio.gather(*(each.ready for each in some))
    return crowd


def close_crowd(crowd: list[Listener]) -> None:
    """Close all sockets of a crowd."""
    for each in crowd:
        each.close()


def allow_sockets(count: int) -> None:
    """Raise how many files this process, and those it starts, may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 1_000
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SystemExit(f"{needed} open files are needed, {hard} are allowed (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _handshake(path: str, protocol: str | None) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "host: 127.0.0.1",
        "upgrade: websocket",
        "connection: Upgrade",
        f"sec-websocket-key: {b64encode(os.urandom(16)).decode()}",
        "sec-websocket-version: 13",
        *([] if protocol is None else [f"sec-websocket-protocol: {protocol}"]),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
