"""An installation to break: durable servers, two API processes, two workers, a proxy."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ValkeyServer
from app.core.servers.local import free_port
from db.driver import Connection
from db.migrate import migrate
from tests.proof.crashes.proxy import Proxy
from tests.proof.crashes.waits import seen
from tests.support.processes import ApiProcess, ExchequerProcess, WorkerProcess

_DATABASE = "exchequer"
_APIS = 2
_WORKERS = 2
# How often a worker looks for what is overdue.
SWEEP_SECONDS = 0.25
_NOW = "select clock_timestamp()"
# The last that a worker's connection was asked: one each, as it has nothing to visit yet.
_SWEEPING = """
select count(*) from pg_stat_activity
where application_name = 'exchequer' and backend_start > $1
    and query ~ 'credits\\.find_overdue|inference\\.find_abandoned'
"""


@dataclass
class Installation:
    """What a round breaks, and mends before the next."""

    postgres: PostgresServer
    valkey: ValkeyServer
    proxy: Proxy
    apis: list[ApiProcess]
    workers: list[WorkerProcess]
    app_url: str
    sweep_seconds: float

    def __post_init__(self) -> None:
        # An API that is stopped or killed is not asked.
        self.answering = list(self.apis)

    @property
    def processes(self) -> list[ExchequerProcess]:
        """Those of ours, which nothing but a kill may end."""
        return [*self.apis, *self.workers]

    @property
    def admin_url(self) -> str:
        """The superuser's way, past the proxy."""
        return self.postgres.url(_DATABASE)

    @asynccontextmanager
    async def database(self, command_seconds: float = 10.0) -> AsyncIterator[Database]:
        """Lend the application's way to Postgres, past the proxy."""
        limits = PoolLimits(min_size=1, max_size=2, command_seconds=command_seconds)
        database = await Database.connect(self.app_url, limits)
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Connection]:
        """Lend a connection of the superuser's."""
        admin = await asyncpg.connect(self.admin_url)
        try:
            yield admin
        finally:
            # Its server may be gone by now.
            admin.terminate()

    async def accepts(self) -> None:
        """Wait until Postgres accepts connections."""

        async def connects() -> bool:
            try:
                connection = await asyncpg.connect(self.admin_url)
            except (OSError, asyncpg.PostgresError):
                return False
            await connection.close()
            return True

        await seen(connects, "a Postgres that accepts connections")

    async def start(self, workers: Sequence[WorkerProcess]) -> None:
        """Start workers, and wait until each has looked once for what is overdue.

        Before that, one may not know yet how to end in order.
        """
        async with self.admin() as admin:
            began = await admin.fetchval(_NOW)
            for worker in workers:
                await worker.start()

            async def all_sweep() -> bool:
                sweeping: int = await admin.fetchval(_SWEEPING, began)
                return sweeping >= len(workers)

            await seen(all_sweep, "a sweep of every worker that was started")

    async def forget_commits(self, *, forgets: bool) -> None:
        """Let Postgres say that it committed before its log is on disk: unsafe, to be seen.

        No process of ours starts so. It is done behind its back, on connections made from now.
        """
        how = "set synchronous_commit = off" if forgets else "reset synchronous_commit"
        async with self.admin() as admin:
            await admin.execute(f"alter database {_DATABASE} {how}")
        self.proxy.reset()


@asynccontextmanager
async def installed(
    folder: Path, *, sweep_seconds: float = SWEEP_SECONDS
) -> AsyncIterator[Installation]:
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
        workers = [
            WorkerProcess(
                proxied,
                valkey.url(),
                log=folder / f"worker{number}.log",
                EXCHEQUER_SWEEP_SECONDS=str(sweep_seconds),
            )
            for number in range(_WORKERS)
        ]
        for worker in workers:
            started.push_async_callback(worker.end)
        made = Installation(postgres, valkey, proxy, apis, workers, app_url, sweep_seconds)
        await made.start(workers)
        yield made
