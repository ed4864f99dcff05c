"""Keys made for a test, as the API makes them."""

from uuid import UUID

from app.core.database import Database
from app.identity import Identity
from app.identity.keys import KeyKind, make_key


async def key_of(
    database: Database, kind: KeyKind, account: UUID, *scopes: str
) -> tuple[str, UUID]:
    """Make a key of an organization, or of its project; return its secret and its id."""
    project = await database.value(
        "select project_id from identity.organizations where id = $1", account
    )
    new = make_key(kind)
    made = await Identity(database).create_api_key(
        kind,
        project,
        "a key",
        new.prefix,
        new.last4,
        new.secret_hash,
        organization_id=account if kind == "organization" else None,
        scopes=scopes,
    )
    return new.secret, made.id
