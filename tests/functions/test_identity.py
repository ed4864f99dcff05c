"""identity: create_project, create_organization, and keys made, found and revoked."""

from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import Record

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits.rows import Actor
from db.driver import Connection
from tests.functions.books import NOW
from tests.functions.grants import changes, grants
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

INSTANT = timedelta(microseconds=1)
BAD_NAME = {"field": "name", "reason": "must have 1 to 200 characters"}
BAD_SLUG = {
    "field": "slug",
    "reason": "must have 1 to 63 lowercase letters, digits and hyphens, a hyphen never first",
}
SECRET = sha256(b"secret").digest()


async def call(database: Database, function: str, **arguments: Any) -> Record:
    """Call an identity function by named arguments and return its only row."""
    places = ", ".join(f"p_{name} => ${n}" for n, name in enumerate(arguments, 1))
    [row] = await database.fetch(
        f"select * from identity.{function}({places})",  # noqa: S608  # names of this file
        *arguments.values(),
    )
    return row


async def tenants(admin: Connection) -> dict[str, list[Record]]:
    """Return every row in which who is who stands."""
    return {
        table: await admin.fetch(f"select * from {table} as t order by t::text")  # noqa: S608
        for table in (
            "identity.projects",
            "identity.organizations",
            "identity.api_keys",
            "credits.policies",
            "credits.accounts",
        )
    }


async def refuse(
    database: Database, admin: Connection, function: str, **arguments: Any
) -> tuple[str, dict[str, Any]]:
    """Return the refusal of a call, proven to have changed no row."""
    before = await tenants(admin)
    with pytest.raises(Refusal) as refusal:
        await call(database, function, **arguments)
    assert await tenants(admin) == before
    return refusal.value.code, dict(refusal.value.facts)


async def make_key(database: Database, project: UUID, **arguments: Any) -> Record:
    """Make a project's key, unless `arguments` say otherwise."""
    return await call(database, "create_api_key", **key_arguments(project, **arguments))


def key_arguments(project: UUID, **arguments: Any) -> dict[str, Any]:
    return {
        "kind": "project",
        "project_id": project,
        "name": "Back-end",
        "prefix": "xq_live_ab",
        "last4": "wxyz",
        "secret_hash": SECRET,
    } | arguments


# create_project


async def test_project_has_a_policy_from_the_start(
    database: Database, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    row = await call(database, "create_project", slug="acme-2", name="Acme")
    assert tuple(row) == (row["id"], "acme-2", "Acme", "active", NOW)
    stored = await admin.fetchrow("select * from identity.projects where id = $1", row["id"])
    assert stored is not None
    assert tuple(stored) == (row["id"], "acme-2", "Acme", "active", NOW, NOW, [])
    [policy] = await admin.fetch("select * from credits.policies where project_id = $1", row["id"])
    assert tuple(policy)[1:] == (
        1_000_000,  # nano-dollars a credit: $0.001
        250_000,
        250_000,
        100,
        10_000 * CREDIT,
        False,
        *(0, 0, 0, 0),
        20,
    )


async def test_slugs(database: Database, admin: Connection) -> None:
    for slug in ("a", "0", "a" * 63, "a-b--c-"):
        row = await call(database, "create_project", slug=slug, name="A")
        assert row["slug"] == slug
    for bad in (None, "", "-a", "a" * 64, "Acme", "a_b", "a b", "a\n", "\u00e4", "a/b"):
        assert await refuse(database, admin, "create_project", slug=bad, name="A") == (
            "VALIDATION_ERROR",
            BAD_SLUG,
        )


async def test_every_name_is_checked(
    database: Database, admin: Connection, accounts: Accounts
) -> None:
    project = await accounts.project()
    for name in (None, "", "   ", "n" * 201):
        for function, arguments in (
            ("create_project", {"slug": "acme", "name": name}),
            ("create_organization", {"project_id": project, "name": name}),
            ("create_api_key", key_arguments(project, name=name)),
        ):
            assert await refuse(database, admin, function, **arguments) == (
                "VALIDATION_ERROR",
                BAD_NAME,
            )


async def test_slug_that_is_taken(database: Database, admin: Connection) -> None:
    await call(database, "create_project", slug="acme", name="Acme")
    assert await refuse(database, admin, "create_project", slug="acme", name="Other") == (
        "CONFLICT",
        {"field": "slug"},
    )


# create_organization


async def test_organization_gets_its_account(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project(period_grant=100 * CREDIT, welcome_grant=20 * CREDIT)
    row = await call(
        database,
        "create_organization",
        project_id=project,
        name="n" * 200,
        kind="personal",
        external_ref="ref-1",
        actor=Actor("key", "k-1", "Back-end"),
    )
    assert tuple(row) == (
        row["id"],
        project,
        "n" * 200,
        "personal",
        "ref-1",
        "active",
        NOW,
        False,
    )
    stored = await admin.fetchrow("select * from identity.organizations where id = $1", row["id"])
    assert stored is not None
    assert tuple(stored) == (*tuple(row)[:6], NOW, NOW)
    assert await grants(admin, row["id"]) == [
        ("plan_allocation", "live", 100 * CREDIT, 100 * CREDIT),
        ("promotional", "live", 20 * CREDIT, 20 * CREDIT),
    ]
    [opened] = await changes(admin, row["id"], "open_account")
    assert (opened["actor_kind"], opened["actor_id"]) == ("key", "k-1")


async def test_external_reference_is_created_once(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(welcome_grant=20 * CREDIT)
    wanted = {"project_id": project, "name": "One", "external_ref": "r" * 255}
    first = await call(database, "create_organization", **wanted)
    before = await tenants(admin)
    again = await call(database, "create_organization", **wanted)
    assert tuple(again) == (*tuple(first)[:-1], True)
    # The one that exists is answered, with the name it has.
    other = await call(database, "create_organization", **wanted | {"name": "Two"})
    assert tuple(other) == tuple(again)
    assert await tenants(admin) == before
    assert (await accounts.balance(first["id"])).bonus == 20 * CREDIT


async def test_references_of_projects_and_organizations_without_one_are_apart(
    database: Database, accounts: Accounts
) -> None:
    one, two = await accounts.project(), await accounts.project()
    rows = [
        await call(database, "create_organization", project_id=one, name="A", external_ref="r"),
        await call(database, "create_organization", project_id=two, name="A", external_ref="r"),
        await call(database, "create_organization", project_id=one, name="A"),
        await call(database, "create_organization", project_id=one, name="A"),
    ]
    assert len({row["id"] for row in rows}) == 4
    assert [row["replayed"] for row in rows] == [False] * 4


async def test_organization_refusals(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    await call(database, "create_organization", project_id=project, name="A", external_ref="r")
    for arguments, code, facts in (
        (
            {"kind": "club"},
            "VALIDATION_ERROR",
            {"field": "kind", "reason": "must be personal or team"},
        ),
        *(
            (
                {"external_ref": ref},
                "VALIDATION_ERROR",
                {"field": "externalRef", "reason": "must have 1 to 255 characters"},
            )
            for ref in ("", "r" * 256)
        ),
        ({"external_ref": "r", "kind": "personal"}, "CONFLICT", {"field": "externalRef"}),
    ):
        wanted = {"project_id": project, "name": "B"} | arguments
        assert await refuse(database, admin, "create_organization", **wanted) == (code, facts)


async def test_a_project_that_is_unknown_or_archived_takes_nobody_in(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    archived = await accounts.project()
    await admin.execute("update identity.projects set status = 'archived' where id = $1", archived)
    for project in (uuid4(), archived):
        unknown = ("NOT_FOUND", {"kind": "project", "id": str(project)})
        wanted = {"project_id": project, "name": "A"}
        assert await refuse(database, admin, "create_organization", **wanted) == unknown
        key = key_arguments(project)
        assert await refuse(database, admin, "create_api_key", **key) == unknown


# create_api_key, find_api_key, revoke_api_key


async def test_key_is_found_by_the_hash_of_its_secret(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project()
    until = NOW + timedelta(days=1)
    key = await make_key(
        database, project, scopes=["credits:grant"], expires_at=until, created_by="a-1"
    )
    assert tuple(key) == (
        key["id"],
        *("project", project, None, "Back-end", "xq_live_ab", "wxyz"),
        *(["credits:grant"], NOW, until),
    )
    found = await call(database, "find_api_key", secret_hash=SECRET)
    assert tuple(found) == (
        key["id"],
        *("project", project, None, "Back-end", ["credits:grant"], until),
    )
    stored = await admin.fetchrow("select * from identity.api_keys where id = $1", key["id"])
    assert stored is not None
    assert (stored["secret_hash"], stored["created_by"]) == (SECRET, "a-1")
    assert stored["revoked_at"] is None


async def test_key_of_an_organization(database: Database, accounts: Accounts) -> None:
    project = await accounts.project()
    organization = await accounts.open(project_id=project)
    await make_key(database, project, kind="organization", organization_id=organization)
    found = await call(database, "find_api_key", secret_hash=SECRET)
    assert (found["kind"], found["organization_id"]) == ("organization", organization)
    assert (found["scopes"], found["expires_at"]) == ([], None)


async def test_key_refusals(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project()
    stranger = await accounts.open()
    owner = {
        "field": "kind",
        "reason": "an organization key names its organization",
    }
    past = {"field": "expiresAt", "reason": "must lie in the future"}
    unknown = {"kind": "organization", "id": str(stranger)}
    for arguments, code, facts in (
        ({"kind": "user"}, "VALIDATION_ERROR", owner),
        ({"kind": "organization"}, "VALIDATION_ERROR", owner),
        ({"organization_id": stranger}, "VALIDATION_ERROR", owner),
        ({"expires_at": NOW}, "VALIDATION_ERROR", past),
        ({"expires_at": NOW - INSTANT}, "VALIDATION_ERROR", past),
        # Another project's organization is none of this one's.
        ({"kind": "organization", "organization_id": stranger}, "NOT_FOUND", unknown),
    ):
        wanted = key_arguments(project, **arguments)
        assert await refuse(database, admin, "create_api_key", **wanted) == (code, facts)


async def test_key_ends_at_its_expiry(database: Database, accounts: Accounts, clock: Clock) -> None:
    await clock.set(NOW)
    key = await make_key(database, await accounts.project(), expires_at=NOW + INSTANT)
    assert (await call(database, "find_api_key", secret_hash=SECRET))["id"] == key["id"]
    await clock.advance(INSTANT)
    assert await database.fetch("select * from identity.find_api_key($1)", SECRET) == []


async def test_unknown_secret_is_nobody(database: Database) -> None:
    assert await database.fetch("select * from identity.find_api_key($1)", SECRET) == []


async def test_revoked_key_is_nobody_and_stays_so(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project()
    key = await make_key(database, project)
    await make_key(database, project, secret_hash=sha256(b"kept").digest())
    revoked = await call(database, "revoke_api_key", id=key["id"], project_id=project)
    assert tuple(revoked) == (*tuple(key), NOW, SECRET, False)
    assert await database.fetch("select * from identity.find_api_key($1)", SECRET) == []
    assert await call(database, "find_api_key", secret_hash=sha256(b"kept").digest())

    before = await tenants(admin)
    await clock.advance(timedelta(days=1))
    again = await call(database, "revoke_api_key", id=key["id"])
    assert tuple(again) == (*tuple(key), NOW, SECRET, True)
    assert await tenants(admin) == before


async def test_keys_of_an_archived_project_are_nobody(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    await make_key(database, project)
    for status, found in (("archived", 0), ("active", 1)):
        await admin.execute(
            "update identity.projects set status = $2 where id = $1", project, status
        )
        rows = await database.fetch("select * from identity.find_api_key($1)", SECRET)
        assert len(rows) == found


async def test_only_a_key_of_the_project_can_be_revoked(
    database: Database, accounts: Accounts, admin: Connection
) -> None:
    key = await make_key(database, await accounts.project())
    other = await accounts.project()
    for wanted in (
        {"id": key["id"], "project_id": other},
        {"id": key["id"], "kind": "organization"},
        {"id": uuid4()},
    ):
        assert await refuse(database, admin, "revoke_api_key", **wanted) == (
            "NOT_FOUND",
            {"kind": "key", "id": str(wanted["id"])},
        )
    assert await call(database, "find_api_key", secret_hash=SECRET)


async def test_a_hundred_live_keys_each(
    database: Database, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    project = await accounts.project()
    organization = await accounts.open(project_id=project)
    first = await make_key(database, project)
    short = await make_key(
        database, project, secret_hash=b"short", expires_at=NOW + timedelta(days=1)
    )
    await admin.execute(
        "insert into identity.api_keys"
        " (id, kind, project_id, name, prefix, last4, secret_hash, created_at)"
        " select core.uuidv7(), 'project', $1, 'k', '', '', n::text::bytea, core.clock()"
        " from generate_series(1, 98) as n",
        project,
    )
    one_more = key_arguments(project, secret_hash=b"one more")
    full = ("CONFLICT", {"field": "keys"})
    assert await refuse(database, admin, "create_api_key", **one_more) == full

    # The project's keys and each organization's are counted apart.
    await make_key(
        database, project, kind="organization", organization_id=organization, secret_hash=b"o"
    )
    # Neither a revoked key nor an expired one is live.
    await call(database, "revoke_api_key", id=first["id"])
    await call(database, "create_api_key", **one_more)
    again = key_arguments(project, secret_hash=b"again")
    assert await refuse(database, admin, "create_api_key", **again) == full
    await clock.set(short["expires_at"])
    await call(database, "create_api_key", **again)
