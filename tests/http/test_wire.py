"""What never becomes a request: heads that are too large or too slow, and what is no HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from tests.conftest import Servers
from tests.support.api import Api, serving, settings_for

HEAD = 4096
LIMIT_SECONDS = 15
BODY = b'{"query":"{ __typename }"}'


@pytest.fixture(scope="module")
async def strict(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    """A server that takes small heads, and bodies in a moment."""
    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        request_head_bytes=HEAD,
        request_seconds=0.3,
    )
    async with serving(settings) as served:
        yield served


class Line:
    """A connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, api: Api) -> "Line":
        host, _, port = api.url.removeprefix("http://").partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Send in pieces, as long as anybody takes them."""
        try:
            for piece in pieces:
                self._writer.write(piece)
                await self._writer.drain()
        except ConnectionError:
            return

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return the status, headers and JSON of what comes."""
        async with asyncio.timeout(LIMIT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body)

    async def close(self) -> None:
        """Leave."""
        self._writer.close()
        await self._writer.wait_closed()

    async def ended(self) -> bytes:
        """Return what still came until the server closed."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                return await self._reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self._writer.close()


def head(*more: bytes, target: bytes = b"/graphql", length: int = len(BODY)) -> bytes:
    lines = [
        b"POST " + target + b" HTTP/1.1",
        b"Host: here",
        b"Content-Type: application/json",
        b"Content-Length: %d" % length,
        *more,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


LARGE = {
    "one header": head(b"X: " + b"a" * HEAD),
    "many headers": head(*(b"X-%d: a" % number for number in range(HEAD // 4))),
    "address": head(target=b"/graphql?" + b"a" * HEAD),
    "no end": b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD,
}


def _refused(answer: tuple[int, dict[str, str], Any], status: int, code: str) -> None:
    assert answer[0] == status
    [error] = answer[2]["errors"]
    assert error["message"]
    assert error["extensions"] == {"code": code, "requestId": answer[1]["x-request-id"]}
    assert answer[1]["connection"] == "close"
    assert answer[1]["content-type"] == "application/json"


@pytest.mark.parametrize("what", LARGE)
async def test_a_head_that_is_too_large_is_refused(what: str, strict: Api) -> None:
    line = await Line.open(strict)
    await line.send([LARGE[what]])
    _refused(await line.answer(), 431, "PAYLOAD_TOO_LARGE")
    assert await line.ended() == b""


async def test_a_head_without_end_is_not_kept(strict: Api) -> None:
    line = await Line.open(strict)
    # Sent as long as anybody takes it; 64 MB would be taken if all was.
    await line.send([b"GET / HTTP/1.1\r\nX: ", *([b"a" * 65_536] * 1024)])
    await line.ended()
    assert (await strict.http.get("/health/live")).status_code == 200


async def test_a_head_at_the_limit_is_read(strict: Api) -> None:
    small = head(b"X: ")
    line = await Line.open(strict)
    # Of what counts, the names and values, it has as much as it may.
    counted = sum(len(each.replace(b": ", b"")) for each in small.split(b"\r\n")[1:])
    counted += len(b"/graphql")
    await line.send([head(b"X: " + b"a" * (HEAD - counted)) + BODY])
    status, _, answer = await line.answer()
    assert (status, answer["data"]) == (200, {"__typename": "Query"})
    # Each head is counted by itself.
    await line.send([head(b"X: " + b"a" * (HEAD - counted)) + BODY])
    assert (await line.answer())[0] == 200
    await line.close()
    line = await Line.open(strict)
    await line.send([head(b"X: " + b"a" * (HEAD - counted + 1)) + BODY])
    assert (await line.answer())[0] == 431
    await line.ended()


@pytest.mark.parametrize("sent", [b"", b"POST /graphql HTTP/1.1\r\nHost:", head()[:-2]])
async def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, strict: Api) -> None:
    line = await Line.open(strict)
    await line.send([sent])
    assert await line.ended() == b""


async def test_a_second_head_that_does_not_come_is_not_waited_for(strict: Api) -> None:
    line = await Line.open(strict)
    await line.send([head() + BODY])
    assert (await line.answer())[0] == 200
    await line.send([b"POST /graphql HTTP/1.1\r\nHost:"])
    assert await line.ended() == b""


async def test_a_body_that_does_not_come_is_not_waited_for(strict: Api) -> None:
    line = await Line.open(strict)
    await line.send([head() + BODY[:-1]])
    status, headers, answer = await line.answer()
    _refused((status, headers, answer), 400, "BAD_REQUEST")
    assert "0.3 seconds" in answer["errors"][0]["message"]
    await line.ended()


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"]
)
async def test_what_is_no_http_is_told_so(sent: bytes, strict: Api) -> None:
    line = await Line.open(strict)
    await line.send([sent])
    _refused(await line.answer(), 400, "BAD_REQUEST")
    assert await line.ended() == b""
