"""Redis' line as it goes bad: one that never answers, one that goes dead without a word."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


class Wire:
    """A TCP forwarder. Cut, it swallows whatever comes over the lines it has."""

    def __init__(self, port: int | None) -> None:
        self._target = port
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.accepted = 0
        self.swallowed = b""

    def cut(self) -> None:
        """Let the lines there are go dead; new ones work."""
        self._dead |= self._writers

    def reset(self) -> None:
        """End the lines there are by a reset, as a firewall does; new ones work."""
        for writer in self._writers:
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()
        self._writers.clear()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        if self._target is None:
            self._start(self._swallow(reader))
            return
        onward, away = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(away)
        self._start(self._pass_on(reader, away))
        self._start(self._pass_on(onward, writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self.swallowed += data

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if writer in self._dead:
                    self.swallowed += data
                else:
                    writer.write(data)
                    await writer.drain()
            if writer not in self._dead:
                writer.close()


@asynccontextmanager
async def wire(port: int | None) -> AsyncIterator[Wire]:
    """Forward to a port; without one, accept and never answer."""
    opened = Wire(port)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()
