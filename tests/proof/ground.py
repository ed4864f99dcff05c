"""Servers of a proof's own, outside of pytest, with a migrated database to clone."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg

from app.core.servers import PostgresServer, ValkeyServer
from db.migrate import migrate
from tests.conftest import Servers
from tests.support.clock import TEST_CLOCK


@dataclass(frozen=True)
class Ground:
    """Where the servers are, and the database to clone."""

    servers: Servers
    template: str

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Lend the name of a fresh database."""
        name = f"exchequer_{uuid4().hex[:12]}"
        await self._admin(f'create database "{name}" template "{self.template}"')
        try:
            yield name
        finally:
            await self._admin(f'drop database "{name}" with (force)')

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.servers.postgres)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def ground(*, durable: bool = False, moves_time: bool = True) -> AsyncIterator[Ground]:
    """Start servers and migrate; `moves_time` makes the database's clock one that is set."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        postgres = started.enter_context(PostgresServer(Path(folder) / "postgres", durable=durable))
        valkey = started.enter_context(ValkeyServer(Path(folder) / "valkey"))
        made = Ground(Servers(postgres.url("postgres"), valkey.url()), "exchequer_template")
        await made._admin(f'create database "{made.template}"')
        admin_url = made.servers.admin_url(made.template)
        await migrate(admin_url, app_url=made.servers.app_url(made.template))
        if moves_time:
            connection = await asyncpg.connect(admin_url)
            await connection.execute(TEST_CLOCK)
            await connection.close()
        yield made
