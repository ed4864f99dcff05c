"""Servers of a proof's own, outside of pytest, with a migrated database to clone."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.core.database import Database, PoolLimits, prepare_connection
from app.core.servers import PostgresServer, ValkeyServer
from db.driver import Connection
from tests.conftest import TEMPLATE, Servers, cloned, make_template


@dataclass(frozen=True)
class Ground:
    """Where the servers are, and the database to clone."""

    servers: Servers
    template: str

    def database(self) -> AbstractAsyncContextManager[str]:
        """Lend the name of a fresh database."""
        return cloned(self.servers, self.template)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Database, Connection]]:
        """Lend a fresh database, as the application has it and as a superuser sees it."""
        async with self.database() as name:
            admin = await asyncpg.connect(self.servers.admin_url(name))
            await prepare_connection(admin)
            database = await Database.connect(self.servers.app_url(name), PoolLimits())
            try:
                yield database, admin
            finally:
                await database.close()
                await admin.close()


@asynccontextmanager
async def ground(*, moves_time: bool = True) -> AsyncIterator[Ground]:
    """Start servers and migrate; `moves_time` makes the database's clock one that is set."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        postgres = started.enter_context(PostgresServer(Path(folder) / "postgres", durable=False))
        valkey = started.enter_context(ValkeyServer(Path(folder) / "valkey"))
        servers = Servers(postgres.url("postgres"), valkey.url())
        await make_template(servers, TEMPLATE, moves_time=moves_time)
        yield Ground(servers, TEMPLATE)
