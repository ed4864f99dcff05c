"""What every live test needs, and what none may leave behind."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import structlog

from app.core.servers import ValkeyServer
from app.settings import Settings
from tests.conftest import Servers
from tests.support.live import ADMIN_KEY, LiveServer, until

# Nothing is pushed by the clock unless a test asks for it: what arrives was pushed.
_NEVER = 600.0
# No error, but nothing that may happen unasked: a stop that needed its limit.
_TELLING = ("serve.cut_short",)


class Start(Protocol):
    """Starts another API process on the test's database; keywords are settings."""

    async def __call__(self, **settings: Any) -> LiveServer: ...


class Faults:
    """What was logged as an error of ours. A test that provokes one says so."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._expected: set[str] = set()

    def expect(self, *events: str) -> None:
        """Accept these."""
        self._expected.update(events)

    @property
    def unexpected(self) -> list[str]:
        return [event for event in self.seen if event not in self._expected]


class _Errors(logging.Handler):
    def __init__(self, seen: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.append(record.getMessage().strip())


@pytest.fixture(autouse=True)
async def faults() -> AsyncIterator[Faults]:
    """Afterwards no task is left, no exception unseen, no error logged."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    unseen: list[Any] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    found = Faults()
    handler = _Errors(found.seen)
    logging.getLogger().addHandler(handler)
    with structlog.testing.capture_logs() as lines:
        yield found
    for line in lines:
        print("LOG", line)  # noqa: T201  # what a failing test shows

    def left() -> set["asyncio.Task[Any]"]:
        return asyncio.all_tasks() - before - {asyncio.current_task()}

    try:
        await until(lambda: not left(), "the end of every task")
    finally:
        logging.getLogger().removeHandler(handler)
        assert left() == set()
        # A task nobody awaited complains when it is collected.
        gc.collect()
        loop.set_exception_handler(None)
    assert unseen == []
    found.seen += [
        line["event"]
        for line in lines
        if line["log_level"] in ("error", "critical") or line["event"] in _TELLING
    ]
    assert found.unexpected == []


@pytest.fixture
async def live(servers: Servers, database_name: str) -> AsyncIterator[Start]:
    """Start API processes; they are stopped in the end."""
    started: list[LiveServer] = []

    async def start(**settings: Any) -> LiveServer:
        values = {
            "database_url": servers.app_url(database_name),
            "redis_url": servers.redis,
            "bootstrap_admin_key": ADMIN_KEY,
            "database_pool_size": 10,
            "database_pool_idle": 1,
            "feed_pushes_per_second": 1000,
            "feed_resync_seconds": _NEVER,
            "rights_recheck_seconds": _NEVER,
            "origins_seconds": _NEVER,
            "redis_timeout_seconds": 5,
            # No stop may need its limit: `faults` would tell.
            "drain_seconds": 10,
            **settings,
        }
        server = LiveServer(Settings(_env_file=None, **values))
        started.append(server)
        return await server.start()

    yield start
    for server in started:
        await server.stop()


@pytest.fixture
def start_valkey(tmp_path: Path) -> Iterator[Callable[[int], ValkeyServer]]:
    """Start a Valkey of the test's own, on a port; 0 chooses one. To be killed."""
    started: list[ValkeyServer] = []

    def start(port: int = 0) -> ValkeyServer:
        server = ValkeyServer(tmp_path / "valkey", port=port, password="ofthistest")  # noqa: S106
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
