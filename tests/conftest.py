"""Real servers, a migrated template, and one cloned database for each test that asks."""

import logging
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
import structlog

from app.catalog import Catalog
from app.core.database import Database, PoolLimits, prepare_connection
from app.core.servers import PostgresServer, ValkeyServer
from app.credits import Credits
from app.inference import ModelCalls
from db.driver import Connection
from db.migrate import migrate
from tests.support.accounts import Accounts
from tests.support.clock import TEST_CLOCK, Clock
from tests.support.model_calls import Calling

# As the product's: plain. Drawn in boxes, with every local value, a traceback takes a second,
# in which the loop answers nobody and locks time out.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=False),
    ]
)

configure_structlog = structlog.configure

APP_LOGIN = "exchequer_test"
APP_PASSWORD = "only-for-tests"  # noqa: S105  # a throw-away server on loopback
TEMPLATE = "exchequer_template"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests have recorded: a worker's own output is not seen."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, told in report.user_properties:
                if name == "figures":
                    terminalreporter.write_line(told)


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no test leave this process another way of logging than it found.

    Loggers keep what they were first used with: later tests would see none of their lines.
    """
    configured: list[str] = []

    def configure(**options: Any) -> None:
        configured.append("".join(traceback.format_stack(limit=8)))
        configure_structlog(**{**options, "cache_logger_on_first_use": False})

    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), [*root.handlers], root.level
    monkeypatch.setattr(structlog, "configure", configure)
    yield
    if configured:
        configure_structlog(**before)
        root.handlers, root.level = handlers, level
        pytest.fail(f"configured the logging of all tests:\n{configured[0]}")


@dataclass(frozen=True)
class Servers:
    """Where the servers of this run are."""

    postgres: str
    redis: str

    def admin_url(self, name: str) -> str:
        """Return the superuser's URL of a database."""
        return urlunsplit(urlsplit(self.postgres)._replace(path=f"/{name}"))

    def app_url(self, name: str) -> str:
        """Return the application's URL of a database: the role it has in production."""
        parts = urlsplit(self.postgres)
        netloc = f"{APP_LOGIN}:{APP_PASSWORD}@{parts.hostname}:{parts.port}"
        return urlunsplit(parts._replace(netloc=netloc, path=f"/{name}"))


@asynccontextmanager
async def cloned(servers: Servers, template: str) -> AsyncIterator[str]:
    """Make a database, yield its name, and drop it."""
    name = f"exchequer_{uuid4().hex[:12]}"
    await _admin(servers, f'create database "{name}" template "{template}"')
    try:
        yield name
    finally:
        await _admin(servers, f'drop database "{name}" with (force)')


async def make_template(servers: Servers, name: str, *, moves_time: bool = True) -> None:
    """Migrate a database to be cloned; `moves_time` makes its clock one that is set."""
    await _admin(servers, f'create database "{name}"')
    await migrate(servers.admin_url(name), app_url=servers.app_url(name))
    if moves_time:
        connection = await asyncpg.connect(servers.admin_url(name))
        try:
            await connection.execute(TEST_CLOCK)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    postgres_url = os.environ.get("EXCHEQUER_TEST_DATABASE_URL")
    redis_url = os.environ.get("EXCHEQUER_TEST_REDIS_URL")
    if postgres_url and redis_url:
        yield Servers(postgres_url, redis_url)
        return
    folder: Path = tmp_path_factory.mktemp("servers")
    with (
        PostgresServer(folder / "postgres", durable=False) as postgres,
        ValkeyServer(folder / "valkey") as valkey,
    ):
        yield Servers(postgres.url("postgres"), valkey.url())


@pytest.fixture(scope="session")
async def template(servers: Servers) -> str:
    """Return the name of a migrated database whose clock tests can move."""
    if prepared := os.environ.get("EXCHEQUER_TEST_TEMPLATE"):
        # Who starts the tests made one: tests.proof.mutants, with a function that is broken.
        return prepared
    name = f"{TEMPLATE}_{uuid4().hex[:8]}"
    await make_template(servers, name)
    return name


@pytest.fixture
async def database_name(servers: Servers, template: str) -> AsyncIterator[str]:
    """Return the name of a fresh database, dropped after the test."""
    async with cloned(servers, template) as name:
        yield name


@pytest.fixture
async def admin(servers: Servers, database_name: str) -> AsyncIterator[Connection]:
    """A superuser's connection, to look at what no role of the application may change."""
    connection = await asyncpg.connect(servers.admin_url(database_name))
    await prepare_connection(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def database(servers: Servers, database_name: str) -> AsyncIterator[Database]:
    """The application's own pool, under the application's own role."""
    limits = PoolLimits(min_size=1, max_size=20)
    opened = await Database.connect(servers.app_url(database_name), limits)
    yield opened
    await opened.close()


@pytest.fixture
async def credits(database: Database) -> Credits:
    return Credits(database)


@pytest.fixture
async def clock(admin: Connection) -> Clock:
    """The database's clock; real until it is set."""
    return Clock(admin)


@pytest.fixture
async def accounts(database: Database, admin: Connection) -> AsyncIterator[Accounts]:
    """Make accounts, and look at them. Whatever a test did, the audit must be clean."""
    made = Accounts(database, admin)
    yield made
    if not made.broken_on_purpose:
        assert await Credits(database).audit() == []


async def _admin(servers: Servers, statement: str) -> None:
    connection = await asyncpg.connect(servers.postgres)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def calling(
    database: Database, accounts: Accounts, clock: Clock, admin: Connection
) -> Calling:
    """Return an organization that may call models, on a clock that stands."""
    calling = Calling(ModelCalls(database), Catalog(database), accounts, clock, admin)
    await calling.prepare()
    return calling
