"""Every kind of caller, and what each may see: two projects, three organizations."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from app.core.database import Database
from app.identity import Identity
from app.identity.keys import KeyKind, make_key
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
    ELSEWHERE = "key of another project with every scope"
    ADMIN = "admin key"


# Whoever sends one of these is refused before anything is looked at.
BAD_KEYS = (Caller.UNKNOWN, Caller.MISTYPED, Caller.REVOKED, Caller.EXPIRED)
SCOPES = {
    Caller.PROJECT_GRANTS: ["credits:grant"],
    Caller.PROJECT_KEYS: ["keys:write"],
    Caller.ELSEWHERE: ["credits:grant", "keys:write"],
    Caller.REVOKED: ["credits:grant", "keys:write"],
    Caller.EXPIRED: ["credits:grant", "keys:write"],
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


async def make_tenants(database: Database, admin: Connection, accounts: Accounts) -> Tenants:
    """Make them; each organization has 100 credits."""
    project, elsewhere = await accounts.project(), await accounts.project()
    organization = await accounts.open(100, project_id=project)
    sibling = await accounts.open(100, project_id=project)
    organization_elsewhere = await accounts.open(100, project_id=elsewhere)
    identity = Identity(database)

    async def key(caller: Caller) -> str:
        kind: KeyKind = (
            "organization" if caller in (Caller.ORGANIZATION, Caller.SIBLING) else "project"
        )
        new = make_key(kind)
        made = await identity.create_api_key(
            kind,
            elsewhere if caller is Caller.ELSEWHERE else project,
            str(caller),
            new.prefix,
            new.last4,
            new.secret_hash,
            organization_id={Caller.ORGANIZATION: organization, Caller.SIBLING: sibling}.get(
                caller
            ),
            scopes=SCOPES.get(caller, []),
        )
        if caller is Caller.REVOKED:
            await identity.revoke_api_key(made.id)
        if caller is Caller.EXPIRED:
            await admin.execute(
                "update identity.api_keys set expires_at = core.clock() - $2::interval"
                " where id = $1",
                made.id,
                timedelta(seconds=1),
            )
        return new.secret

    stored = [
        Caller.REVOKED,
        Caller.EXPIRED,
        Caller.ORGANIZATION,
        Caller.SIBLING,
        Caller.PROJECT,
        Caller.PROJECT_GRANTS,
        Caller.PROJECT_KEYS,
        Caller.ELSEWHERE,
    ]
    keys: dict[Caller, str | None] = {caller: await key(caller) for caller in stored}
    unknown = make_key("project").secret
    keys[Caller.ANONYMOUS] = None
    keys[Caller.UNKNOWN] = unknown
    keys[Caller.MISTYPED] = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
    keys[Caller.ADMIN] = ADMIN_KEY
    return Tenants(project, organization, sibling, elsewhere, organization_elsewhere, keys)
