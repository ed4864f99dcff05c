"""What is refused at start: unsafe settings, unsafe roles, an unsafe server."""

import asyncpg
import pytest
from pydantic import ValidationError

from app.core.database import Database, PoolLimits, Unavailable
from app.safety import UnsafeError, assert_safe
from app.settings import Settings
from app.start import connect
from db.driver import Connection
from tests.conftest import Servers

SECRET = "s" * 32
ONE = PoolLimits(min_size=1, max_size=1)


async def _refused(url: str, *, production: bool = False) -> str:
    database = await Database.connect(url, ONE)
    try:
        with pytest.raises(UnsafeError) as refused:
            await assert_safe(database, production=production)
    finally:
        await database.close()
    return str(refused.value)


async def test_the_applications_role_is_safe(database: Database) -> None:
    await assert_safe(database, production=False)


async def test_a_role_that_owns_the_tables_is_refused(servers: Servers, database_name: str) -> None:
    assert "owns the tables" in await _refused(servers.admin_url(database_name))


async def test_a_member_of_the_owner_is_refused(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    await admin.execute("create role half_owner login password 'x' in role exchequer_owner")
    try:
        url = servers.app_url(database_name).replace(
            "exchequer_test:only-for-tests", "half_owner:x"
        )
        assert "owns the tables" in await _refused(url)
    finally:
        await admin.execute("drop role half_owner")


async def test_asynchronous_commit_is_refused(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    await admin.execute(f'alter database "{database_name}" set synchronous_commit = off')
    assert "synchronous_commit" in await _refused(servers.app_url(database_name))


async def test_fsync_off_is_refused_in_production(servers: Servers, database_name: str) -> None:
    # The servers of tests run without it.
    assert "fsync" in await _refused(servers.app_url(database_name), production=True)


async def test_a_database_without_tables_is_refused(servers: Servers) -> None:
    admin = await asyncpg.connect(servers.postgres)
    await admin.execute("create database exchequer_bare")
    try:
        assert "exchequer migrate" in await _refused(servers.admin_url("exchequer_bare"))
    finally:
        await admin.execute("drop database exchequer_bare")
        await admin.close()


async def test_functions_of_another_release_are_refused(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    await admin.execute(
        "update core.applied_functions set hash = '\\x00' where path = 'credits/reserve.sql'"
    )
    told = await _refused(servers.app_url(database_name))
    assert "credits/reserve.sql" in told
    assert "exchequer migrate" in told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"environment": "production"}, "EXCHEQUER_SECRET_KEY is required in production"),
        ({"secret_key": "short"}, "at least 32 characters"),
        ({"bootstrap_admin_key": "short"}, "at least 32 characters"),
        (
            {"environment": "production", "secret_key": SECRET, "allowed_origins": "*"},
            "must name origins",
        ),
        ({"port": 70_000}, "less than or equal to 65535"),
        ({"database_pool_size": 0}, "greater than or equal to 1"),
        ({"environment": "staging"}, "development"),
    ],
)
def test_wrong_settings_are_refused_with_one_clear_line(
    values: dict[str, object], told: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**values)  # type: ignore[arg-type]  # wrong on purpose
    [wrong] = refused.value.errors()
    assert told in wrong["msg"]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://a@b/c")
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("EXCHEQUER_ALLOWED_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("EXCHEQUER_BOOTSTRAP_ADMIN_KEY", "")
    settings = Settings()
    assert settings.database_url == "postgresql://a@b/c"
    assert settings.port == 9001
    assert settings.allowed_origins == ["https://a.example", "https://b.example"]
    assert settings.bootstrap_admin_key is None


def test_secrets_do_not_show_in_what_is_printed() -> None:
    settings = Settings(secret_key=SECRET, bootstrap_admin_key=SECRET)
    assert SECRET not in repr(settings)


async def test_start_gives_up_on_an_absent_postgres_after_its_time() -> None:
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none", startup_wait_seconds=0)
    with pytest.raises(Unavailable):
        await connect(settings)
