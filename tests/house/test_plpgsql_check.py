"""plpgsql_check finds no fault in any function: bodies are checked nowhere else.

Postgres accepts a body with a misspelt column. The extension comes with Debian's
Postgres 15, which is also the oldest that is supported; it runs in a server of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.core.servers import PostgresServer
from db.migrate import migrate
from tests.support.peers import missing

BINARIES = Path("/usr/lib/postgresql/15/bin")
EXTENSION = Path("/usr/share/postgresql/15/extension/plpgsql_check.control")


@pytest.fixture
def oldest(tmp_path: Path) -> Iterator[PostgresServer]:
    if not EXTENSION.exists():
        missing("Debian's postgresql-15-plpgsql-check")
    with PostgresServer(tmp_path / "oldest", durable=False, binaries=BINARIES) as server:
        yield server


async def test_no_function_has_a_fault(oldest: PostgresServer) -> None:
    admin = await asyncpg.connect(oldest.url("postgres"))
    await admin.execute("create database checked")
    await admin.close()
    await migrate(oldest.url("checked"))
    connection = await asyncpg.connect(oldest.url("checked"))
    try:
        await connection.execute("create extension plpgsql_check")
        checked = await connection.fetchval(
            "select count(*) from pg_proc as p join pg_language as l on l.oid = p.prolang"
            " where l.lanname = 'plpgsql' and p.prorettype <> 'trigger'::regtype"
            " and p.pronamespace = any($1::text[]::regnamespace[])",
            ["core", "identity", "credits", "usage", "events"],
        )
        found = await connection.fetch(
            """
            select p.oid::regproc::text as function, c.lineno, c.message, c.level
            from pg_proc as p
            join pg_language as l on l.oid = p.prolang
            cross join lateral plpgsql_check_function_tb(
                p.oid, other_warnings => true, extra_warnings => true,
                performance_warnings => false, security_warnings => true) as c
            where l.lanname = 'plpgsql'
                and p.prorettype <> 'trigger'::regtype
                and p.pronamespace = any($1::text[]::regnamespace[])
            order by 1, 2
            """,
            ["core", "identity", "credits", "usage", "events"],
        )
    finally:
        await connection.close()
    assert checked > 30
    faults = [f"{row[0]}:{row[1]} {row[3]}: {row[2]}" for row in found]
    assert "\n".join(faults) == ""
