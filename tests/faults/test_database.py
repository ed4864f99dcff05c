"""Connections that end badly: who asks is told that Postgres is away, and may ask again."""

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import pytest

from app.core.database import Database, PoolLimits, Unavailable
from db.driver import Connection
from tests.conftest import Servers
from tests.live.wires import Wire

_ENDED = """
select pg_terminate_backend(pid) from pg_stat_activity
where application_name = 'exchequer' and datname = current_database()
"""


class _Lingering(Wire):
    """Passes on what the server said last, and not that it hung up."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.hung_up = asyncio.Event()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        self.hung_up.set()


async def test_a_connection_that_was_told_its_end_while_idle_is_unavailable_once(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    parts = urlsplit(servers.app_url(database_name))
    wire = _Lingering(parts.port or 5432)
    await wire.start()
    netloc = parts.netloc.replace(f":{parts.port}", f":{wire.port}")
    limits = PoolLimits(min_size=1, max_size=1, command_seconds=2)
    database = await Database.connect(urlunsplit(parts._replace(netloc=netloc)), limits)
    try:
        assert await database.value("select 1") == 1
        assert await admin.fetchval(_ENDED)
        await wire.hung_up.wait()
        # A way to the server and back: what was sent before has been read by now.
        await admin.fetchval("select 1")
        with pytest.raises(Unavailable):
            await database.value("select 1")
        assert await database.value("select 1") == 1
    finally:
        await database.close()
        await wire.stop()
