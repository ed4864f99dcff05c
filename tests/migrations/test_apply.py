"""Function files: applied when they changed, refused when they contradict the database."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import db.apply
from db.apply import FunctionsError, apply_functions
from db.driver import Connection
from db.migrate import migrate

BODY = """
create or replace function credits.{name}() returns int
language sql immutable as $$ select {answer} $$;
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an empty folder of function files in place of ours."""
    (tmp_path / "credits").mkdir()
    monkeypatch.setattr(db.apply, "FUNCTIONS", tmp_path)
    return tmp_path / "credits"


@pytest.fixture
async def connection(empty: str, files: Path) -> AsyncIterator[Connection]:
    del files
    await migrate(empty)
    opened = await asyncpg.connect(empty)
    yield opened
    await opened.close()


async def test_a_changed_file_is_applied_and_an_unchanged_one_is_not(
    connection: Connection, files: Path
) -> None:
    (files / "a.sql").write_text(BODY.format(name="a", answer=1))
    (files / "b.sql").write_text(BODY.format(name="b", answer=1))
    assert await apply_functions(connection) == ["credits/a.sql", "credits/b.sql"]
    assert await apply_functions(connection) == []
    (files / "b.sql").write_text(BODY.format(name="b", answer=2))
    assert await apply_functions(connection) == ["credits/b.sql"]
    assert await connection.fetchval("select credits.b()") == 2


async def test_a_reverted_file_is_applied_again(connection: Connection, files: Path) -> None:
    for answer in (1, 2, 1):
        (files / "a.sql").write_text(BODY.format(name="a", answer=answer))
        assert await apply_functions(connection) == ["credits/a.sql"]
        assert await connection.fetchval("select credits.a()") == answer


async def test_everything_is_applied_over_edits_by_hand(
    connection: Connection, files: Path
) -> None:
    (files / "a.sql").write_text(BODY.format(name="a", answer=1))
    await apply_functions(connection)
    await connection.execute(BODY.format(name="a", answer=3))
    assert await apply_functions(connection) == []
    assert await apply_functions(connection, everything=True) == ["credits/a.sql"]
    assert await connection.fetchval("select credits.a()") == 1


async def test_a_broken_file_is_named_and_changes_nothing(
    connection: Connection, files: Path
) -> None:
    (files / "a.sql").write_text(BODY.format(name="a", answer=1))
    (files / "b.sql").write_text("create function credits.b( oops")
    with pytest.raises(FunctionsError, match=r"db/functions/credits/b\.sql"):
        async with connection.transaction():
            await apply_functions(connection)
    assert await connection.fetchval("select to_regproc('credits.a') is null")
    assert await connection.fetchval("select count(*) from core.applied_functions") == 0


async def test_a_file_that_disappeared_must_have_had_its_function_dropped(
    connection: Connection, files: Path
) -> None:
    (files / "a.sql").write_text(BODY.format(name="a", answer=1))
    await apply_functions(connection)
    (files / "a.sql").unlink()
    with pytest.raises(FunctionsError, match=r"credits\.a still exists"):
        await apply_functions(connection)
    await connection.execute("drop function credits.a()")
    assert await apply_functions(connection) == []
    assert await connection.fetchval("select count(*) from core.applied_functions") == 0


async def test_a_failed_migration_leaves_the_database_as_it_was(empty: str, files: Path) -> None:
    (files / "a.sql").write_text("create function credits.a( oops")
    with pytest.raises(FunctionsError):
        await migrate(empty)
    connection = await asyncpg.connect(empty)
    assert await connection.fetchval(
        "select not exists (select from pg_namespace where nspname in ('credits', 'core'))"
    )
    await connection.close()
