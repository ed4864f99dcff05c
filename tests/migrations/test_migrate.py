"""Migrations: up, down, up; two at once; and the tables the models describe."""

import asyncio
import re
import subprocess
from pathlib import Path

import asyncpg
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import db.migrate
from app.core.servers import PostgresServer
from db.migrate import migrate
from db.models import metadata
from tests.conftest import Servers

SCHEMAS = ("core", "identity", "catalog", "credits", "usage", "events", "inference")


def _dump(url: str, tmp_path: Path, *, tables_only: bool = False) -> str:
    """Return the schema as pg_dump writes it, without what differs from run to run."""
    pg_dump = PostgresServer(tmp_path / "unused").binaries / "pg_dump"
    done = subprocess.run(  # noqa: S603  # the server's own tool
        [
            pg_dump,
            "--schema-only",
            "--no-owner",
            *(["--no-privileges", "--no-comments"] if tables_only else []),
            *(f"--schema={schema}" for schema in SCHEMAS),
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"^(--.*|\\(un)?restrict .*)\n", "", done.stdout, flags=re.MULTILINE)


async def test_up_down_up_ends_where_it_began(empty: str, tmp_path: Path) -> None:
    await migrate(empty)
    first = _dump(empty, tmp_path)
    await migrate(empty, revision="base")
    connection = await asyncpg.connect(empty)
    left = await connection.fetchval(
        "select count(*) from pg_class as c"
        " where c.relnamespace in (select oid from pg_namespace where nspname = any($1))"
        " and c.relname not like 'schema_version%'",
        list(SCHEMAS),
    )
    await connection.close()
    assert left == 0
    await migrate(empty)
    assert _dump(empty, tmp_path) == first


async def test_base_of_an_empty_database_is_no_work(empty: str) -> None:
    assert await migrate(empty, revision="base") == []


async def test_again_applies_nothing(empty: str) -> None:
    assert await migrate(empty) != []
    assert await migrate(empty) == []


async def test_several_at_once_do_the_work_once(empty: str) -> None:
    applied = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(len(files) > 0 for files in applied) == [False, False, False, True]


async def test_tables_are_those_of_the_models(empty: str, servers: Servers, tmp_path: Path) -> None:
    await migrate(empty)
    connection = await asyncpg.connect(servers.postgres)
    name = "exchequer_models"
    await connection.execute(f"create database {name}")
    await connection.close()
    url = servers.admin_url(name)
    models = await asyncpg.connect(url)
    try:
        for schema in SCHEMAS:
            await models.execute(f"create schema {schema}")
        await models.execute("create domain credits.microcredits as bigint")
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        for table in metadata.sorted_tables:
            await models.execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                await models.execute(str(CreateIndex(index).compile(dialect=dialect)))
    finally:
        await models.close()
    try:
        expected = _tables(_dump(url, tmp_path, tables_only=True))
        assert _tables(_dump(empty, tmp_path, tables_only=True)) == expected
        assert len(expected) > len(metadata.tables)
    finally:
        connection = await asyncpg.connect(servers.postgres)
        await connection.execute(f"drop database {name}")
        await connection.close()


def _tables(dump: str) -> list[str]:
    """Return the statements of a dump that make tables, indexes and constraints."""
    statements = (statement.strip() for statement in dump.split(";\n"))
    return sorted(
        statement
        for statement in statements
        if re.match(r"(CREATE TABLE|ALTER TABLE|CREATE (UNIQUE )?INDEX)", statement)
        and "schema_version" not in statement
        # What the planner is told is a matter of migrations alone.
        and "SET (n_distinct=" not in statement
    )


async def test_a_function_of_an_older_release_with_another_result_gives_way(empty: str) -> None:
    await migrate(empty)
    connection = await asyncpg.connect(empty)
    try:
        await connection.execute(
            "drop function credits._lock_free(uuid[], integer);"
            "create function credits._lock_free(p_account_ids uuid[], p_requests int)"
            " returns uuid[] language sql as 'select p_account_ids';"
            # What later releases brought.
            "drop schema inference cascade; drop schema catalog cascade;"
            "update core.applied_functions set hash = ''"
            " where path = 'credits/_lock_free.sql' or path ~ '^(catalog|inference)/';"
            "update core.schema_version set version_num = '0006'"
        )
        applied = await migrate(empty)
        assert [path for path in applied if not path.startswith(("catalog/", "inference/"))] == [
            "credits/_lock_free.sql"
        ]
        assert await connection.fetchval(
            "select proretset or prorettype = 'record'::regtype from pg_proc"
            " where oid = 'credits._lock_free'::regproc"
        )
    finally:
        await connection.close()


async def test_the_applications_login_is_made_with_its_rights_alone(
    empty: str, servers: Servers
) -> None:
    app_url = servers.app_url(empty.rsplit("/", 1)[1]).replace("exchequer_test", "exchequer_made")
    await migrate(empty, app_url=app_url)
    try:
        made = await asyncpg.connect(app_url)
        row = await made.fetchrow(
            "select rolsuper, rolcreaterole, rolcreatedb,"
            " pg_has_role(current_user, 'exchequer_app', 'member') as app,"
            " pg_has_role(current_user, 'exchequer_owner', 'member') as owner"
            " from pg_roles where rolname = current_user"
        )
        await made.close()
        assert row is not None
        assert dict(row) == {
            "rolsuper": False,
            "rolcreaterole": False,
            "rolcreatedb": False,
            "app": True,
            "owner": False,
        }
    finally:
        admin = await asyncpg.connect(servers.postgres)
        await admin.execute("drop role exchequer_made")
        await admin.close()


def test_migrations_are_named_in_order() -> None:
    versions = Path(db.migrate.__file__).parent / "migrations" / "versions"
    names = sorted(path.stem for path in versions.glob("*.py"))
    assert names
    assert all(re.fullmatch(r"\d{8}_\d{4}_[a-z_]+", name) for name in names)
    numbers = [name.split("_")[1] for name in names]
    assert numbers == [f"{number:04d}" for number in range(1, len(names) + 1)]


def test_migrations_hold_no_function_bodies() -> None:
    versions = Path(db.migrate.__file__).parent / "migrations" / "versions"
    for path in versions.iterdir():
        if path.suffix in (".py", ".sql"):
            text = path.read_text(encoding="utf-8").lower()
            assert not re.search(r"create (or replace )?(function|procedure)", text), path.name
