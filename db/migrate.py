"""Bring a database to the present: roles, migrations, then functions.

Everything runs in one transaction under one advisory lock, so two that start at
once do the work once, and a failure leaves the database as it was.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.apply import apply_functions
from db.driver import Connection

# Any fixed number: who migrates Exchequer holds it.
_ADVISORY_LOCK = 0x45786368

_BOOTSTRAP = """
do $do$
begin
    if not exists (select from pg_roles where rolname = 'exchequer_owner') then
        create role exchequer_owner nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'exchequer_app') then
        create role exchequer_app nologin;
    end if;
    if not exists (select from pg_roles where rolname = 'exchequer_auditor') then
        create role exchequer_auditor nologin;
    end if;
    execute format('grant create on database %I to exchequer_owner', current_database());
    if not pg_has_role('exchequer_owner', 'member') then
        execute format('grant exchequer_owner to %I', current_user);
    end if;
end
$do$;
"""


def async_url(url: str) -> str:
    """Return a Postgres URL in the form SQLAlchemy's asyncpg dialect takes."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1).replace(
        "postgres://", "postgresql+asyncpg://", 1
    )


async def migrate(
    url: str, *, revision: str = "head", everything: bool = False, app_url: str | None = None
) -> list[str]:
    """Migrate to a revision and apply the functions; return the function files applied.

    `url` logs in as a role that may create roles, or that is a member of
    `exchequer_owner`. `app_url` names the login of the application: it is created
    with its password if it is missing, and made a member of `exchequer_app`.
    """
    engine = create_async_engine(async_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("set lock_timeout = '4s'"))
            await connection.execute(
                text("select pg_catalog.pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
            )
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.execute(_BOOTSTRAP)
            if app_url is not None:
                await _ensure_login(driver, app_url)
            await driver.execute("set local role exchequer_owner")
            await driver.execute("create schema if not exists core")
            await connection.run_sync(_run_alembic, revision)
            applied: list[str] = []
            if await driver.fetchval("select to_regclass('core.applied_functions') is not null"):
                applied = await apply_functions(driver, everything=everything)
            await connection.commit()
            return applied
    finally:
        await engine.dispose()


def _run_alembic(connection: SyncConnection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    current = connection.execute(
        text("select to_regclass('core.schema_version') is not null")
    ).scalar_one()
    if revision == "base" and not current:
        return
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


async def _ensure_login(driver: Connection, app_url: str) -> None:
    parts = urlsplit(app_url)
    if parts.username is None:
        return
    # As the driver will read them: what has a meaning in a URL is percent-encoded there.
    login = unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    exists = await driver.fetchval("select exists (select from pg_roles where rolname = $1)", login)
    if not exists:
        statement = await driver.fetchval(
            "select format('create role %I login password %L', $1::text, $2::text)",
            login,
            password,
        )
        await driver.execute(statement)
    if not await driver.fetchval("select pg_has_role($1, 'exchequer_app', 'member')", login):
        await driver.execute(
            await driver.fetchval("select format('grant exchequer_app to %I', $1::text)", login)
        )
