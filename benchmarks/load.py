"""A load of HTTP/1.1 requests over keep-alive connections: cheap, bounded, nothing unseen.

Each connection sends its next request when the answer to the last has come. Every answer is
looked at: a status other than 200, or a body without what is expected, is an error.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from benchmarks.harness import process_seconds

_ROUND_SECONDS = 300
_OK = b"HTTP/1.1 200 "
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Target:
    """What is asked of whom: the bytes of each request, and what each answer must hold."""

    port: int
    pid: int
    make: Callable[[int], bytes]
    expected: bytes


@dataclass(frozen=True)
class Run:
    """What a number of requests took."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's processor for each request."""
        return self.cpu_seconds / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, target: Target, numbers: Iterator[int], taken: list[float]) -> None:
        self._target = target
        self._numbers = numbers
        self._taken = taken
        self._transport: asyncio.Transport
        self._buffer = b""
        # Where the answer under way ends in the buffer, once its head is there.
        self._end = 0
        self._body = 0
        self._began = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server closed a connection"))

    def next(self) -> None:
        """Send the next request; at the end there is none."""
        number = next(self._numbers, None)
        if number is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        request = self._target.make(number)
        self._began = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._end and not self._read_head():
            return
        if len(self._buffer) < self._end:
            return
        if len(self._buffer) > self._end or self._target.expected not in self._buffer:
            self._fail(RuntimeError(f"not what was expected: {self._buffer[self._body :]!r:.500}"))
            return
        self._taken.append(time.perf_counter() - self._began)
        self._buffer, self._end = b"", 0
        self.next()

    def _read_head(self) -> bool:
        stop = self._buffer.find(b"\r\n\r\n")
        if stop < 0:
            return False
        at = self._buffer.find(_LENGTH, 0, stop)
        if at < 0 or not self._buffer.startswith(_OK):
            self._fail(RuntimeError(f"no answer of 200: {self._buffer!r:.500}"))
            return False
        at += len(_LENGTH)
        length = self._buffer[at : self._buffer.find(b"\r", at)]
        self._body = stop + 4
        self._end = self._body + int(length)
        return True

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def load(target: Target, requests: int, connections: int) -> Run:
    """Send so many requests over so many connections; raise if any is not answered well."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(requests))
    taken: list[float] = []
    lines = [
        (
            await loop.create_connection(
                lambda: _Line(target, numbers, taken), "127.0.0.1", target.port
            )
        )[1]
        for _ in range(connections)
    ]
    try:
        used, began = process_seconds(target.pid), time.perf_counter()
        for line in lines:
            line.next()
        async with asyncio.timeout(_ROUND_SECONDS):
            await asyncio.gather(*(line.done for line in lines))
        seconds, used = time.perf_counter() - began, process_seconds(target.pid) - used
    finally:
        for line in lines:
            line.close()
    if len(taken) != requests:
        raise RuntimeError(f"{len(taken)} answers to {requests} requests")
    taken.sort()
    return Run(
        requests, seconds, used, percentile(taken, 0.5) * 1000, percentile(taken, 0.99) * 1000
    )


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which that share of ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def get(path: str, key: str) -> bytes:
    """Return a request to read."""
    return (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: exchequer-bench\r\n"
        f"authorization: Bearer {key}\r\naccept: application/json\r\n\r\n"
    ).encode()


def post(
    path: str,
    key: str,
    body: bytes,
    accept: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a request with a JSON body."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: exchequer-bench\r\n"
        f"authorization: Bearer {key}\r\naccept: {accept}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body
