"""Who and what there is: the same ids and keys in every run, so that bytes are the same."""

import asyncpg

from app.core.database import Database, PoolLimits
from app.credits import Credits
from app.identity.keys import hash_key

ADMIN_KEY = "admin-key-of-the-fuzzer-and-of-nothing-else"
PROJECT = "00000000-0000-4000-8000-000000000001"
ELSEWHERE = "00000000-0000-4000-8000-000000000002"
ORGANIZATION = "00000000-0000-4000-8000-000000000011"
SIBLING = "00000000-0000-4000-8000-000000000012"
FOREIGN = "00000000-0000-4000-8000-000000000021"
NOBODY = "00000000-0000-4000-8000-000000000099"
IDS = (ORGANIZATION, SIBLING, FOREIGN, PROJECT, ELSEWHERE, NOBODY)

# Forty-three digits and their checksum.
KEYS = {
    "project": "exq_p_" + "0" * 42 + "10W6iEi",
    "organization": "exq_o_" + "0" * 42 + "22HEZ9B",
    "foreign": "exq_p_" + "0" * 42 + "34R5nMS",
}
_ORGANIZATIONS = ((ORGANIZATION, PROJECT), (SIBLING, PROJECT), (FOREIGN, ELSEWHERE))
_HOLDERS = {
    "project": (PROJECT, None),
    "organization": (PROJECT, ORGANIZATION),
    "foreign": (ELSEWHERE, None),
}
_CREDITS = 1_000_000_000_000


async def make(admin_url: str, app_url: str) -> None:
    """Make it, in a migrated database."""
    admin = await asyncpg.connect(admin_url)
    try:
        for project in (PROJECT, ELSEWHERE):
            await admin.execute(
                "insert into identity.projects (id, slug, name, created_at, updated_at)"
                " values ($1, $2, 'Fuzz', core.clock(), core.clock())",
                project,
                f"fuzz-{project[-1]}",
            )
            await admin.execute("select credits.set_policy($1)", project)
        for organization, project in _ORGANIZATIONS:
            await admin.execute(
                "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
                " values ($1, $2, 'Fuzz', core.clock(), core.clock())",
                organization,
                project,
            )
            await admin.execute("select credits.open_account($1, $2)", organization, project)
        for number, (name, (project, owner)) in enumerate(_HOLDERS.items()):
            await admin.execute(
                "insert into identity.api_keys (id, kind, project_id, organization_id, name,"
                " prefix, last4, secret_hash, scopes, created_at)"
                " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, core.clock())",
                f"00000000-0000-4000-8000-0000000000a{number}",
                "project" if owner is None else "organization",
                project,
                owner,
                name,
                KEYS[name][:12],
                KEYS[name][-4:],
                hash_key(KEYS[name]),
                ["credits:grant", "keys:write"] if owner is None else [],
            )
    finally:
        await admin.close()
    database = await Database.connect(app_url, PoolLimits(min_size=1, max_size=2))
    for organization, _ in _ORGANIZATIONS:
        await Credits(database).issue_grant(
            asyncpg.pgproto.pgproto.UUID(organization), _CREDITS, "top_up", "fuzz"
        )
    await database.close()


async def audit(app_url: str) -> list[object]:
    """Return what is wrong with the books, whatever was sent."""
    database = await Database.connect(app_url, PoolLimits(min_size=1, max_size=2))
    try:
        return list(await Credits(database).audit())
    finally:
        await database.close()
