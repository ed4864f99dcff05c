"""Apply the function files that changed since they were last applied.

One file holds one function and its text is the truth: there is no copy in a
migration. Compared is the hash *last* applied, not any ever seen, so a reverted
file is applied again. A file that disappeared must have had its function dropped
by a migration.
"""

import hashlib
from pathlib import Path

import asyncpg

from db.driver import Connection

FUNCTIONS = Path(__file__).parent / "functions"


class FunctionsError(Exception):
    """The function files and the database do not agree."""


async def apply_functions(connection: Connection, *, everything: bool = False) -> list[str]:
    """Apply changed files in path order and return their paths.

    Runs inside the caller's transaction and under its advisory lock. With
    `everything`, files are applied whatever their hash says: a function edited by
    hand in a database is not noticed by hashes.
    """
    files = {
        str(path.relative_to(FUNCTIONS)): path.read_bytes()
        for path in sorted(FUNCTIONS.rglob("*.sql"))
    }
    rows = await connection.fetch("select path, hash from core.applied_functions")
    applied: dict[str, bytes] = {row["path"]: row["hash"] for row in rows}
    missing = sorted(applied.keys() - files.keys())
    await _forget_dropped(connection, missing)

    changed: list[str] = []
    for path, text in files.items():
        digest = hashlib.sha256(text).digest()
        if applied.get(path) == digest and not everything:
            continue
        try:
            await connection.execute(text.decode())
        except asyncpg.PostgresError as error:
            raise FunctionsError(f"db/functions/{path}: {error}") from error
        await connection.execute(
            "insert into core.applied_functions (path, hash, applied_at)"
            " values ($1, $2, clock_timestamp())"
            " on conflict (path) do update"
            " set hash = excluded.hash, applied_at = excluded.applied_at",
            path,
            digest,
        )
        changed.append(path)
    return changed


async def _forget_dropped(connection: Connection, missing: list[str]) -> None:
    for path in missing:
        schema, name = Path(path).parent.name, Path(path).stem
        if await connection.fetchval(
            "select exists (select from pg_catalog.pg_proc as p"
            " where p.pronamespace = $1::text::regnamespace and p.proname = $2)",
            schema,
            name,
        ):
            raise FunctionsError(
                f"db/functions/{path} is gone but {schema}.{name} still exists:"
                " drop the function in a migration"
            )
        await connection.execute("delete from core.applied_functions where path = $1", path)
