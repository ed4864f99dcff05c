"""`Identity`: one method for each SQL function of the identity domain, and its reads."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.identity.keys import hash_key, is_well_formed
from app.identity.rights import Operation, require
from app.identity.viewer import ADMIN, ANONYMOUS, Viewer, ViewerKind
from db.driver import Connection

_CACHED_KEYS = 10_000
_CACHED_ORGANIZATIONS = 100_000


@dataclass(frozen=True, slots=True)
class CreatedProject:
    """A tenant as it begins: no page may use its keys yet."""

    id: UUID
    slug: str
    name: str
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Project(CreatedProject):
    """A tenant."""

    allowed_origins: list[str]


@dataclass(frozen=True, slots=True)
class ChangedProject(Project):
    """A tenant after a change; `replayed` if it was so before."""

    replayed: bool


@dataclass(frozen=True, slots=True)
class Organization:
    """Who pays; its id is that of its credit account."""

    id: UUID
    project_id: UUID
    name: str
    kind: str
    external_ref: str | None
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CreatedOrganization(Organization):
    """An organization; `replayed` if its external reference had been seen before."""

    replayed: bool


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown: never its secret."""

    id: UUID
    kind: str
    project_id: UUID
    organization_id: UUID | None
    name: str
    prefix: str
    last4: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who holds a secret."""

    id: UUID
    kind: str
    project_id: UUID
    organization_id: UUID | None
    name: str
    scopes: list[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class RevokedKey(ApiKey):
    """A key that no longer works; `replayed` if it had stopped before."""

    revoked_at: datetime
    secret_hash: bytes
    replayed: bool


class Identity:
    """People, organizations and keys; and the right of each to what it asks for."""

    def __init__(
        self, database: Database, *, admin_key: str | None = None, key_cache_seconds: float = 5.0
    ) -> None:
        self._database = database
        self._admin_hash = (
            None if admin_key is None else hashlib.sha256(admin_key.encode()).digest()
        )
        self._cache_seconds = key_cache_seconds
        self._keys: OrderedDict[bytes, tuple[float, Viewer]] = OrderedDict()
        # An organization never changes its project, so this is never wrong.
        self._projects: OrderedDict[UUID, UUID] = OrderedDict()

    # Who is asking.

    async def viewer(self, secret: str | None) -> Viewer:
        """Return who sends this bearer token; anonymous if none is sent.

        Raises UNAUTHENTICATED for a token that is mistyped, unknown, revoked or expired.
        """
        if secret is None:
            return ANONYMOUS
        digest = hash_key(secret)
        if self._admin_hash is not None and hmac.compare_digest(digest, self._admin_hash):
            return ADMIN
        now = time.monotonic()
        cached = self._keys.get(digest)
        if cached is not None and cached[0] > now:
            return cached[1]
        if not is_well_formed(secret):
            raise Refusal("UNAUTHENTICATED")
        holders = await self.find_api_key(digest)
        if not holders:
            self._keys.pop(digest, None)
            raise Refusal("UNAUTHENTICATED")
        viewer = _viewer(holders[0])
        self._keys[digest] = (now + self._cache_seconds, viewer)
        self._keys.move_to_end(digest)
        while len(self._keys) > _CACHED_KEYS:
            self._keys.popitem(last=False)
        return viewer

    async def authorize(self, viewer: Viewer, operation: Operation, organization_id: UUID) -> None:
        """Refuse a viewer who may not do this to that organization.

        Somebody else's organization and one that does not exist look the same.
        """
        require(viewer, operation)
        if viewer.kind is ViewerKind.ADMIN:
            return
        unknown = Refusal("NOT_FOUND", {"kind": "organization", "id": str(organization_id)})
        if viewer.kind is ViewerKind.ORGANIZATION_KEY:
            if viewer.organization_id != organization_id:
                raise unknown
            return
        if await self._project_of(organization_id) != viewer.project_id:
            raise unknown

    async def _project_of(self, organization_id: UUID) -> UUID | None:
        known = self._projects.get(organization_id)
        if known is None:
            known = await self._database.value(
                "select project_id from identity.organizations where id = $1", organization_id
            )
            if known is not None:
                self._projects[organization_id] = known
                while len(self._projects) > _CACHED_ORGANIZATIONS:
                    self._projects.popitem(last=False)
        return known

    # Functions.

    async def create_project(
        self, slug: str, name: str, connection: Connection | None = None
    ) -> CreatedProject:
        """Make a tenant with its credit policy."""
        return await self._database.call_one(
            CreatedProject, "identity.create_project", connection, p_slug=slug, p_name=name
        )

    async def set_allowed_origins(self, project_id: UUID, origins: Sequence[str]) -> ChangedProject:
        """Say from which pages a project's keys may be used; see `Origins`."""
        return await self._database.call_one(
            ChangedProject,
            "identity.set_allowed_origins",
            p_project_id=project_id,
            p_origins=list(origins),
        )

    async def create_organization(
        self,
        project_id: UUID,
        name: str,
        kind: str = "team",
        external_ref: str | None = None,
        actor: Sequence[str] | None = None,
        connection: Connection | None = None,
    ) -> CreatedOrganization:
        """Make an organization and open its credit account."""
        return await self._database.call_one(
            CreatedOrganization,
            "identity.create_organization",
            connection,
            p_project_id=project_id,
            p_name=name,
            p_kind=kind,
            p_external_ref=external_ref,
            p_actor=actor,
        )

    async def create_api_key(
        self,
        kind: str,
        project_id: UUID,
        name: str,
        prefix: str,
        last4: str,
        secret_hash: bytes,
        *,
        organization_id: UUID | None = None,
        scopes: Sequence[str] = (),
        expires_at: datetime | None = None,
        created_by: str | None = None,
        connection: Connection | None = None,
    ) -> ApiKey:
        """Keep a key by its hash."""
        return await self._database.call_one(
            ApiKey,
            "identity.create_api_key",
            connection,
            p_kind=kind,
            p_project_id=project_id,
            p_name=name,
            p_prefix=prefix,
            p_last4=last4,
            p_secret_hash=secret_hash,
            p_organization_id=organization_id,
            p_scopes=list(scopes),
            p_expires_at=expires_at,
            p_created_by=created_by,
        )

    async def find_api_key(self, secret_hash: bytes) -> list[KeyHolder]:
        """Return who holds a secret: one or nobody."""
        return await self._database.call(
            KeyHolder, "identity.find_api_key", p_secret_hash=secret_hash
        )

    async def revoke_api_key(
        self, key_id: UUID, project_id: UUID | None = None, kind: str | None = None
    ) -> RevokedKey:
        """Revoke a key; other processes believe it for at most the cache time."""
        row = await self._database.call_one(
            RevokedKey,
            "identity.revoke_api_key",
            p_id=key_id,
            p_project_id=project_id,
            p_kind=kind,
        )
        self._keys.pop(row.secret_hash, None)
        return row

    # Reads.

    async def organizations(
        self,
        *,
        project_id: UUID | None = None,
        organization_id: UUID | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[Organization]:
        """Return organizations in the order they were made."""
        rows = await self._database.fetch(
            "select id, project_id, name, kind, external_ref, status, created_at"
            " from identity.organizations"
            " where ($1::uuid is null or project_id = $1) and ($2::uuid is null or id = $2)"
            " and ($3::uuid is null or id > $3) order by id limit $4",
            project_id,
            organization_id,
            after,
            limit,
        )
        return [Organization(*row) for row in rows]

    async def organization(self, organization_id: UUID) -> Organization:
        """Return one organization."""
        found = await self.organizations(organization_id=organization_id, limit=1)
        if not found:
            raise Refusal("NOT_FOUND", {"kind": "organization", "id": str(organization_id)})
        return found[0]

    async def projects(
        self, *, project_id: UUID | None = None, after: UUID | None = None, limit: int = 100
    ) -> list[Project]:
        """Return projects in the order they were made."""
        rows = await self._database.fetch(
            "select id, slug, name, status, created_at, allowed_origins from identity.projects"
            " where ($1::uuid is null or id = $1) and ($2::uuid is null or id > $2)"
            " order by id limit $3",
            project_id,
            after,
            limit,
        )
        return [Project(*row) for row in rows]

    async def allowed_origins(self, limit: int) -> list[tuple[UUID, list[str]]]:
        """Return the origins of each project that has any, those of the oldest first."""
        rows = await self._database.fetch(
            "select id, allowed_origins from identity.projects"
            " where status = 'active' and allowed_origins <> '{}' order by id limit $1",
            limit,
        )
        return [(row["id"], row["allowed_origins"]) for row in rows]

    async def count_organizations(
        self, project_id: UUID | None = None, organization_id: UUID | None = None
    ) -> int:
        """Return how many organizations there are."""
        count: int = await self._database.value(
            "select count(*) from identity.organizations"
            " where ($1::uuid is null or project_id = $1) and ($2::uuid is null or id = $2)",
            project_id,
            organization_id,
        )
        return count

    async def count_projects(self, project_id: UUID | None = None) -> int:
        """Return how many projects there are."""
        count: int = await self._database.value(
            "select count(*) from identity.projects where $1::uuid is null or id = $1", project_id
        )
        return count


def _viewer(holder: KeyHolder) -> Viewer:
    project = holder.kind == "project"
    return Viewer(
        ViewerKind.PROJECT_KEY if project else ViewerKind.ORGANIZATION_KEY,
        id=str(holder.id),
        label=holder.name,
        project_id=holder.project_id,
        organization_id=holder.organization_id,
        scopes=frozenset(holder.scopes),
    )
