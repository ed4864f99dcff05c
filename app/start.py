"""Starting: wait for Postgres, then serve or work until told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

from app.core.database import Database, Unavailable
from app.core.drain import Drain
from app.core.telemetry import log
from app.main import create_app, pool_limits
from app.safety import CannotServeError, assert_safe
from app.server import STOPS, Server, configured
from app.settings import Settings
from app.worker import run_worker


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
    drain = Drain()
    server = Server(configured(create_app(settings, database, drain), settings), ready, drain)
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


async def work(settings: Settings) -> None:
    """Run the worker until SIGINT or SIGTERM."""
    database = await connect(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    try:
        await assert_safe(database, production=settings.environment == "production")
        await run_worker(settings, database, stop)
    finally:
        await database.close()
