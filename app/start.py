"""Starting: wait for Postgres, then serve or work until told to stop."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from app.core.database import Database, Unavailable
from app.core.telemetry import log
from app.main import create_app, pool_limits
from app.safety import CannotServeError, assert_safe
from app.settings import Settings
from app.worker import run_worker

_GRACE_SECONDS = 5
_STOPS = (signal.SIGINT, signal.SIGTERM)


async def connect(settings: Settings) -> Database:
    """Connect to Postgres; wait for it with back-off, as long as the settings say."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.startup_wait_seconds
    pause = 0.1
    while True:
        try:
            return await Database.connect(settings.database_url, pool_limits(settings))
        except Unavailable as error:
            if loop.time() + pause > deadline:
                raise
            log.warning("start.waiting_for_postgres", error=str(error), retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)


async def serve(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Serve the API until SIGINT or SIGTERM."""
    database = await connect(settings)
    await assert_safe(database, production=settings.environment == "production")
    server = Server(
        uvicorn.Config(
            create_app(settings, database),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws_max_size=settings.request_body_bytes,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            h11_max_incomplete_event_size=65_536,
        ),
        ready,
    )
    with _listening(settings.host, settings.port) as listener:
        await server.serve([listener])


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise CannotServeError(
            f"cannot listen on {host}, port {port} ({error.strerror}):"
            " choose another with PORT or HOST"
        ) from error
    with listener:
        yield listener


class Server(uvicorn.Server):
    """Tells when it listens, and on which port."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, and have stopped by that: the end of the process is 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _STOPS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: object = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)  # type: ignore[arg-type]  # as uvicorn's own
        if not self.started:
            return
        [address, *_] = [s.getsockname() for server in self.servers for s in server.sockets]
        host, port = address[:2]
        log.info("serve.listening", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
        if self._ready is not None:
            self._ready(port)


async def work(settings: Settings) -> None:
    """Run the worker until SIGINT or SIGTERM."""
    database = await connect(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
        await assert_safe(database, production=settings.environment == "production")
        await run_worker(settings, database, stop)
    finally:
        await database.close()
