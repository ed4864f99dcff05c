"""Every kind of caller, and what each may see: two projects, three organizations."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.identity.keys import make_key
from db.driver import Connection
from tests.support.accounts import Accounts

ADMIN_KEY = "admin-key-of-the-tests-and-of-nothing-else"


class Caller(StrEnum):
    """Who may be asking."""

    ANONYMOUS = "anonymous"
    UNKNOWN = "unknown key"
    MISTYPED = "mistyped key"
    REVOKED = "revoked key"
    EXPIRED = "expired key"
    ORGANIZATION = "key of the organization"
    SIBLING = "key of another organization"
    PROJECT = "key of the project"
    PROJECT_GRANTS = "key of the project with credits:grant"
    PROJECT_KEYS = "key of the project with keys:write"
    PROJECT_CATALOG = "key of the project with catalog:write"
    ELSEWHERE = "key of another project with every scope"
    ADMIN = "admin key"


# Whoever sends one of these is refused before anything is looked at.
BAD_KEYS = (Caller.UNKNOWN, Caller.MISTYPED, Caller.REVOKED, Caller.EXPIRED)
NOT_STORED = (Caller.ANONYMOUS, Caller.UNKNOWN, Caller.MISTYPED, Caller.ADMIN)
_ALL = ["credits:grant", "keys:write", "catalog:write"]
SCOPES = {
    Caller.PROJECT_GRANTS: ["credits:grant"],
    Caller.PROJECT_KEYS: ["keys:write"],
    Caller.PROJECT_CATALOG: ["catalog:write"],
    Caller.ELSEWHERE: _ALL,
    Caller.REVOKED: _ALL,
    Caller.EXPIRED: _ALL,
}


@dataclass(frozen=True, slots=True)
class Tenants:
    """Two projects; the first has an organization and a sibling of it."""

    project: UUID
    organization: UUID
    sibling: UUID
    elsewhere: UUID
    organization_elsewhere: UUID
    keys: dict[Caller, str | None]


async def make_tenants(admin: Connection, accounts: Accounts) -> Tenants:
    """Make them; each organization has 100 credits."""
    project, elsewhere = await accounts.project(), await accounts.project()
    organization = await accounts.open(100, project_id=project)
    sibling = await accounts.open(100, project_id=project)
    organization_elsewhere = await accounts.open(100, project_id=elsewhere)
    owners = {Caller.ORGANIZATION: organization, Caller.SIBLING: sibling}
    stored = [caller for caller in Caller if caller not in NOT_STORED]
    new = {caller: make_key("organization" if caller in owners else "project") for caller in stored}
    # As identity.create_api_key writes them, in one statement: every test makes its own.
    await admin.executemany(
        "insert into identity.api_keys (id, kind, project_id, organization_id, name, prefix, last4,"
        " secret_hash, scopes, created_at, expires_at, revoked_at) values (core.uuidv7(), $1, $2,"
        " $3, $4, $5, $6, $7, $8, core.clock(),"
        " case when $9 then core.clock() end, case when $10 then core.clock() end)",
        [
            (
                "organization" if caller in owners else "project",
                elsewhere if caller is Caller.ELSEWHERE else project,
                owners.get(caller),
                caller.value,
                key.prefix,
                key.last4,
                key.secret_hash,
                SCOPES.get(caller, []),
                caller is Caller.EXPIRED,
                caller is Caller.REVOKED,
            )
            for caller, key in new.items()
        ],
    )
    keys: dict[Caller, str | None] = {caller: key.secret for caller, key in new.items()}
    unknown = make_key("project").secret
    keys[Caller.ANONYMOUS] = None
    keys[Caller.UNKNOWN] = unknown
    keys[Caller.MISTYPED] = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
    keys[Caller.ADMIN] = ADMIN_KEY
    return Tenants(project, organization, sibling, elsewhere, organization_elsewhere, keys)
