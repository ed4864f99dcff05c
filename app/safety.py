"""What is refused at start, because money would not be safe."""

import hashlib

from app.core.database import Database
from db.apply import FUNCTIONS


class UnsafeError(Exception):
    """A setting of the server or of the role that must not be."""


class CannotServeError(Exception):
    """Where it was asked for, nobody can be served."""


_SETTINGS = """
    select
        current_setting('synchronous_commit') as synchronous_commit,
        current_setting('fsync') as fsync,
        current_setting('full_page_writes') as full_page_writes,
        current_setting('default_transaction_isolation') as isolation,
        (select r.rolsuper from pg_roles as r where r.rolname = current_user) as superuser,
        exists (
            select from pg_class as c
            join pg_namespace as n on n.oid = c.relnamespace
            where n.nspname in ('core', 'identity', 'credits', 'usage', 'events')
                and pg_has_role(current_user, c.relowner, 'member')
        ) as owns_tables,
        to_regclass('core.applied_functions') is not null as migrated
"""


async def assert_safe(database: Database, *, production: bool) -> None:
    """Raise `UnsafeError` with one clear line unless credits are safe on this server."""
    [row] = await database.fetch(_SETTINGS)
    if not row["migrated"]:
        raise UnsafeError("the database is not migrated: run `exchequer migrate`")
    if row["superuser"] or row["owns_tables"]:
        raise UnsafeError(
            "DATABASE_URL logs in as a role that owns the tables: it could change balances."
            " Use a login of its own, a member of exchequer_app;"
            " `exchequer migrate` makes one with EXCHEQUER_MIGRATION_DATABASE_URL"
        )
    if row["synchronous_commit"] not in ("on", "remote_apply", "remote_write", "local"):
        raise UnsafeError(
            "synchronous_commit is off: a crash would lose credits that were acknowledged;"
            " set it to on"
        )
    if row["isolation"] != "read committed":
        raise UnsafeError("default_transaction_isolation must be read committed")
    if production and (row["fsync"] != "on" or row["full_page_writes"] != "on"):
        raise UnsafeError("fsync and full_page_writes must be on in production")
    await _assert_functions(database)


async def _assert_functions(database: Database) -> None:
    rows = await database.fetch("select path, hash from core.applied_functions")
    applied = {row["path"]: row["hash"] for row in rows}
    released = {
        str(path.relative_to(FUNCTIONS)): hashlib.sha256(path.read_bytes()).digest()
        for path in FUNCTIONS.rglob("*.sql")
    }
    if stale := sorted(path for path, digest in released.items() if applied.get(path) != digest):
        raise UnsafeError(
            f"{len(stale)} SQL functions are not those of this release, such as {stale[0]}:"
            " run `exchequer migrate`"
        )
