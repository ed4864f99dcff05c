"""A client of HTTP/1.1 and WebSocket that can do everything wrong, and reads what comes."""

import asyncio
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass

_LIMIT = 2**21
_LINGER_NOT = struct.pack("ii", 1, 0)


class CutOffError(Exception):
    """The connection ended where an answer was due."""


class BadAnswerError(Exception):
    """What came is no HTTP, or no frame."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    @property
    def ends(self) -> bool:
        """Whether the server hangs up after it."""
        return self.headers.get("connection", "").lower() == "close"


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.answered = 0
        self._inflate = zlib.decompressobj(-15)

    @classmethod
    async def open(cls, port: int) -> "Wire":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT))

    async def send(self, data: bytes) -> None:
        """Write bytes; that nobody takes them any more shows in the answer."""
        with suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()
            # A server that sends head and body apart is not kept waiting for our kernel.
            raw = self._writer.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        # The other side may have been faster, which shows in what is read.
        with suppress(OSError):
            if not self._writer.is_closing() and self._writer.can_write_eof():
                self._writer.write_eof()

    def reset(self) -> None:
        """Leave at once."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._writer.transport.abort()

    def close(self) -> None:
        """Leave."""
        self._writer.transport.abort()

    async def answer(self, *, bodiless: bool = False) -> Answer | None:
        """Read an answer; None where the connection has ended."""
        answer = await self.head()
        while answer is not None and 100 <= answer.status < 200 and answer.status != 101:
            answer = await self.head()
        if answer is None or bodiless or answer.status in {101, 204, 304}:
            return answer
        try:
            body = await self.body(answer)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise CutOffError("the answer was cut off") from error
        return Answer(answer.status, answer.headers, body)

    async def head(self) -> Answer | None:
        """Read the head of an answer; None where the connection has ended."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial.strip():
                raise BadAnswerError(f"no HTTP: {error.partial[:200]!r}") from error
            return None
        except ConnectionError:
            return None
        status, *lines = head[:-4].split(b"\r\n")
        version, _, rest = status.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise BadAnswerError(f"no HTTP: {status!r}")
        self.answered += 1
        headers = {}
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        return Answer(int(rest[:3]), headers, b"")

    async def body(self, answer: Answer) -> bytes:
        if answer.headers.get("transfer-encoding") == "chunked":
            body = b""
            while chunk := await self.chunk():
                body += chunk
            return body
        length = answer.headers.get("content-length")
        return await (self._reader.read(-1) if length is None else self._exactly(int(length)))

    async def chunk(self) -> bytes:
        """Read one chunk; empty at the end."""
        line = await self._reader.readuntil(b"\r\n")
        data = await self._exactly(int(line, 16) + 2)
        return data[:-2]

    async def _exactly(self, count: int) -> bytes:
        return await self._reader.readexactly(count)

    async def frame(self) -> tuple[int, bytes] | None:
        """Read a frame of a socket; None where the connection has ended."""
        try:
            first, second = await self._exactly(2)
            length = second & 0x7F
            if length >= 126:
                length = int.from_bytes(await self._exactly(2 if length == 126 else 8), "big")
            if second & 0x80 or not first & 0x80 or first & 0x30:
                # Servers do not mask, and this one has no reason to send in pieces.
                raise BadAnswerError(f"no frame: {first:02x} {second:02x}")
            data = await self._exactly(length)
            if first & 0x40:
                data = self._inflate.decompress(data + b"\x00\x00\xff\xff")
            return first & 0x0F, data
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
