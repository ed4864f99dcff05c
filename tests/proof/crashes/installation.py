"""An installation to break: durable servers, two API processes, a proxy before Postgres."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ValkeyServer
from app.core.servers.local import free_port
from db.migrate import migrate
from tests.proof.crashes.proxy import Proxy
from tests.support.accounts import Accounts
from tests.support.processes import ApiProcess

_DATABASE = "exchequer"
_APIS = 2
BACK_SECONDS = 60.0


@dataclass
class Installation:
    """What a round breaks, and mends before the next."""

    postgres: PostgresServer
    valkey: ValkeyServer
    proxy: Proxy
    apis: list[ApiProcess]
    app_url: str

    def __post_init__(self) -> None:
        # An API that is stopped or killed is not asked.
        self.answering = list(self.apis)

    @property
    def admin_url(self) -> str:
        """The superuser's way, past the proxy."""
        return self.postgres.url(_DATABASE)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Lend the application's way to Postgres, past the proxy."""
        database = await Database.connect(self.app_url, PoolLimits(min_size=1, max_size=2))
        try:
            yield database
        finally:
            await database.close()

    async def open_accounts(self, count: int, credits: int) -> list[UUID]:
        """Make organizations whose accounts hold so many whole credits."""
        admin = await asyncpg.connect(self.admin_url)
        try:
            async with self.database() as database:
                accounts = Accounts(database, admin)
                return [await accounts.open(credits) for _ in range(count)]
        finally:
            await admin.close()

    async def accepts(self) -> None:
        """Wait until Postgres accepts connections."""
        async with asyncio.timeout(BACK_SECONDS):
            while True:
                try:
                    connection = await asyncpg.connect(self.admin_url)
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.02)
                    continue
                await connection.close()
                return


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[Installation]:
    """Start everything in a folder."""
    async with AsyncExitStack() as started:
        # Ports of their own: a server that was killed comes back where it was.
        postgres = PostgresServer(folder / "postgres", durable=True, port=free_port())
        valkey = ValkeyServer(folder / "valkey", port=free_port())
        await asyncio.to_thread(started.enter_context, postgres)
        await asyncio.to_thread(started.enter_context, valkey)
        admin = await asyncpg.connect(postgres.url("postgres"))
        await admin.execute(f"create database {_DATABASE}")
        await admin.close()
        app_url = postgres.url(_DATABASE, "exchequer_app_login", "only-for-tests")
        await migrate(postgres.url(_DATABASE), app_url=app_url)
        proxy = await started.enter_async_context(Proxy(postgres.port))
        parts = urlsplit(app_url)
        netloc = parts.netloc.replace(f":{postgres.port}", f":{proxy.port}")
        proxied = urlunsplit(parts._replace(netloc=netloc))
        apis = [
            await started.enter_async_context(
                ApiProcess(proxied, valkey.url(), log=folder / f"api{number}.log")
            )
            for number in range(_APIS)
        ]
        yield Installation(postgres, valkey, proxy, apis, app_url)
