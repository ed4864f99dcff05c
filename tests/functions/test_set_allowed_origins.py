"""identity.set_allowed_origins: which pages may use the keys of a project."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.identity import Identity
from db.driver import Connection
from tests.functions.books import NOW
from tests.support.accounts import Accounts
from tests.support.clock import Clock

TOO_MANY = {"field": "allowedOrigins", "reason": "must name at most 50 origins"}
NO_ORIGIN = {
    "field": "allowedOrigins",
    "reason": "must be origins such as https://app.example: http or https, a host, perhaps a port",
}
LONGEST = "https://" + ".".join(["a" * 61] * 3 + ["b" * 58]) + ":65"
FIFTY = [f"https://a{n}.example" for n in range(50)]

NO_ORIGINS: tuple[Any, ...] = (
    None,
    "",
    "*",
    "null",
    "app.example",
    "//app.example",
    "https://",
    "https://app.example/",
    "https://app.example/path",
    "https://app.example?q",
    "https://app.example#f",
    "https://*.example",
    "https://you@app.example",
    "https://app..example",
    "https://app.example.",
    "https://APP.example",
    "HTTPS://app.example",
    "https://app.example:",
    "https://app.example:0",
    "https://app.example:080",
    "https://app.example:443",
    "http://app.example:80",
    "https://app.example:123456",
    "https://b\u00fccher.example",
    "https://a.example https://b.example",
    "https://a.example\n",
    " https://a.example",
    "https://a.example,https://b.example",
    "ftp://app.example",
    "capacitor://localhost",
    "https://[::1",
    "https://::1",
    LONGEST + "5",
)


async def projects(admin: Connection) -> list[asyncpg.Record]:
    """Return every row of every project."""
    return await admin.fetch("select * from identity.projects order by id")


async def refused(
    database: Database, admin: Connection, project: UUID, origins: Any
) -> tuple[str, dict[str, Any]]:
    """Return the refusal of a list, proven to have changed no row."""
    before = await projects(admin)
    with pytest.raises(Refusal) as refusal:
        await Identity(database).set_allowed_origins(project, origins)
    assert await projects(admin) == before
    return refusal.value.code, dict(refusal.value.facts)


async def test_the_list_replaces_the_one_before(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    identity = Identity(database)
    project, other = await accounts.project(), await accounts.project()
    later = NOW + timedelta(hours=1)
    await clock.set(later)
    for origins in (
        ["https://app.example", "http://localhost:5173"],
        ["https://a_b.xn--bcher-kva.example:65535", "http://127.0.0.1:8000", "http://[::1]:8443"],
        [LONGEST],
        FIFTY,
        [],
    ):
        made = await identity.set_allowed_origins(project, origins)
        assert (made.id, made.status, made.created_at) == (project, "active", NOW)
        assert (made.allowed_origins, made.replayed) == (origins, False)
        stored = await admin.fetchrow("select * from identity.projects where id = $1", project)
        assert stored is not None
        assert (stored["allowed_origins"], stored["updated_at"]) == (origins, later)
    assert await admin.fetchval(
        "select (allowed_origins, updated_at) from identity.projects where id = $1", other
    ) == ([], NOW)


async def test_the_same_list_again_changes_nothing(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    identity, project = Identity(database), await accounts.project()
    assert (await identity.set_allowed_origins(project, [])).replayed is True
    first = await identity.set_allowed_origins(project, FIFTY[:2])
    before = await projects(admin)
    await clock.advance(timedelta(days=1))
    again = await identity.set_allowed_origins(project, FIFTY[:2])
    assert (first.replayed, again.replayed) == (False, True)
    assert again.allowed_origins == first.allowed_origins
    assert await projects(admin) == before


@pytest.mark.parametrize("origin", NO_ORIGINS, ids=range(len(NO_ORIGINS)))
async def test_what_is_no_origin_is_refused(
    origin: Any, database: Database, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    await Identity(database).set_allowed_origins(project, FIFTY[:1])
    asked = ["https://good.example", origin]
    assert await refused(database, admin, project, asked) == ("VALIDATION_ERROR", NO_ORIGIN)


async def test_at_most_fifty(database: Database, accounts: Accounts, admin: Connection) -> None:
    project = await accounts.project()
    too_many = [*FIFTY, "https://one.more.example"]
    assert await refused(database, admin, project, too_many) == ("VALIDATION_ERROR", TOO_MANY)
    before = await projects(admin)
    with pytest.raises(Refusal) as refusal:
        await database.fetch("select * from identity.set_allowed_origins($1, null)", project)
    assert (refusal.value.code, dict(refusal.value.facts)) == ("VALIDATION_ERROR", TOO_MANY)
    assert await projects(admin) == before


async def test_a_project_that_is_unknown_or_archived(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    archived = await accounts.project()
    await admin.execute("update identity.projects set status = 'archived' where id = $1", archived)
    for project in (uuid4(), archived):
        assert await refused(database, admin, project, FIFTY) == (
            "NOT_FOUND",
            {"kind": "project", "id": str(project)},
        )


async def test_who_edits_waits_for_who_does(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    identity, project = Identity(database), await accounts.project()
    await identity.set_allowed_origins(project, FIFTY)
    async with admin.transaction():
        await admin.execute(
            "update identity.projects set allowed_origins = '{}' where id = $1", project
        )
        # Two seconds are what it waits; nor is it told that it need do nothing.
        for origins in (FIFTY[:1], FIFTY):
            assert await refused(database, admin, project, origins) == ("BUSY", {})
    assert await identity.allowed_origins(10) == []
    assert (await identity.set_allowed_origins(project, FIFTY)).replayed is False


@pytest.mark.parametrize("origin", [*NO_ORIGINS[:12], "https://a.example,", "ftp://a.example"])
async def test_the_table_takes_nothing_else_whoever_writes_it(
    origin: Any, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    update = "update identity.projects set allowed_origins = $2 where id = $1"
    await admin.execute(update, project, FIFTY)
    for origins in ([origin], [FIFTY[0], origin], [origin, FIFTY[0]], [*FIFTY, FIFTY[0]]):
        with pytest.raises(asyncpg.CheckViolationError):
            await admin.execute(update, project, origins)


async def test_the_origins_of_each_active_project_that_has_any(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    identity = Identity(database)
    one, two, none, archived = [await accounts.project() for _ in range(4)]
    for project in (one, two, archived):
        await identity.set_allowed_origins(project, [f"https://{project}.example"])
    await admin.execute("update identity.projects set status = 'archived' where id = $1", archived)
    both = [(each, [f"https://{each}.example"]) for each in (one, two)]
    assert await identity.allowed_origins(10) == both
    assert await identity.allowed_origins(1) == both[:1]
    assert none not in dict(both)
