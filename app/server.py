"""The server of the API process: how it is set up, and how it stops without hurting a client.

Told to stop, it accepts nobody new, and lets what is under way finish. What a client only
listens to is ended by those who serve it (app.core.drain); who does not take what is sent is
left. Nothing outlives the limit, and at a second signal nothing is waited for.
"""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.drain import Drain
from app.core.telemetry import log
from app.settings import Settings
from app.wire import Http, WebSocket

STOPS = (signal.SIGINT, signal.SIGTERM)

_POLL_SECONDS = 0.02
# As long, a connection that is kept stays open: its client cannot know yet, and what it sends
# is still answered.
_STALLED_SECONDS = 2.0
_CANCELLED_SECONDS = 1.0


def configured(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """Return the server's configuration; nothing in it is left to what happens to be installed."""

    class HttpTools(Http):
        head_bytes = settings.request_head_bytes
        head_seconds = settings.request_seconds

    return uvicorn.Config(
        app,
        http=HttpTools,
        ws=WebSocket,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
        ws_max_size=settings.request_body_bytes,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        # A push is half a kilobyte; to deflate it for each of a thousand costs more than the
        # bytes, and each line a window of memory.
        ws_per_message_deflate=False,
    )


class Server(uvicorn.Server):
    """Tells when it listens, and on which port; drains when it is told to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[int], None] | None = None,
        drain: Drain | None = None,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._drain = drain or Drain()
        self._limit: asyncio.Timeout | None = None
        self._unsent: dict[Any, tuple[int, float]] = {}
        self._worked_at = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, and have stopped by that: the end of the process is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in STOPS:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as uvicorn's
        """Begin to stop; told again, wait for nobody."""
        self.force_exit = self.should_exit
        self.should_exit = True
        if self.force_exit and self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        if not self.started:
            return
        [address, *_] = [s.getsockname() for server in self.servers for s in server.sockets]
        host, port = address[:2]
        log.info(
            "serve.listening",
            url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
            # What it runs on decides how much it serves.
            loop=type(asyncio.get_running_loop()).__module__,
            http=self.config.http_protocol_class.__name__,
        )
        if self._ready is not None:
            self._ready(port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody, let what is under way finish within the limit, and close everything."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        log.info("serve.stopping", connections=len(state.connections), requests=len(state.tasks))
        self._drain.begin()
        patience = 0 if self.force_exit else self.config.timeout_graceful_shutdown
        try:
            async with asyncio.timeout(patience) as self._limit:
                await self._emptied()
        except TimeoutError:
            # A further signal finds nothing that could end sooner.
            self._limit = None
            await self._cut()
        self._limit = None
        await self.lifespan.shutdown()

    async def _emptied(self) -> None:
        """Wait until every request is answered and every connection closed."""
        loop = asyncio.get_running_loop()
        state = self.server_state
        while state.connections or state.tasks:
            for connection in list(self._stalled(loop.time())):
                connection.transport.abort()
            await asyncio.sleep(_POLL_SECONDS)

    def _stalled(self, now: float) -> Iterable[Any]:
        """Find who takes nothing of what was sent; in the end, who is idle or says no goodbye."""
        if self.server_state.tasks:
            self._worked_at = now
        goodbye = now - self._worked_at >= _STALLED_SECONDS
        for connection in self.server_state.connections:
            unsent = connection.transport.get_write_buffer_size()
            known, since = self._unsent.get(connection, (-1, now))
            if unsent != known:
                self._unsent[connection] = (unsent, now)
            elif (unsent or goodbye) and now - since >= _STALLED_SECONDS:
                yield connection

    async def _cut(self) -> None:
        """End what did not end by itself; what it did until now is told by its retry."""
        state = self.server_state
        log.warning(
            "serve.cut_short", connections=len(state.connections), requests=len(state.tasks)
        )
        for connection in list(state.connections):
            if _is_half_told(connection) or connection.transport.is_closing():
                connection.transport.abort()
            else:
                # A socket is told to come again; a request that was not answered yet, will be.
                connection.shutdown()
        # Those who serve an ended connection learn of it in the next turn of the loop.
        await asyncio.sleep(0)
        if tasks := set(state.tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCELLED_SECONDS)
        await asyncio.sleep(_POLL_SECONDS)
        for connection in list(state.connections):
            connection.transport.abort()


def _is_half_told(connection: Any) -> bool:
    if not isinstance(connection, HttpToolsProtocol) or connection.cycle is None:
        return False
    return connection.cycle.response_started and not connection.cycle.response_complete
