"""Servers of a proof's own, outside of pytest, with a migrated database to clone."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.core.servers import PostgresServer, ValkeyServer
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
async def ground(*, moves_time: bool = True) -> AsyncIterator[Ground]:
    """Start servers and migrate; `moves_time` makes the database's clock one that is set."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as started:
        postgres = started.enter_context(PostgresServer(Path(folder) / "postgres", durable=False))
        valkey = started.enter_context(ValkeyServer(Path(folder) / "valkey"))
        servers = Servers(postgres.url("postgres"), valkey.url())
        await make_template(servers, TEMPLATE, moves_time=moves_time)
        yield Ground(servers, TEMPLATE)
