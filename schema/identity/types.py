"""Types of the identity domain."""

from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.identity import identity as domain
from schema.context import context_of
from schema.credits.types import CreditBalance
from schema.pages import Connection


@strawberry.enum(description="What an organization is.")
class OrganizationKind(Enum):
    """Kinds of organizations."""

    PERSONAL = strawberry.enum_value("personal", description="One person.")
    TEAM = strawberry.enum_value("team", description="Several people.")


@strawberry.enum(description="Whose a key is.")
class KeyKindName(Enum):
    """Kinds of keys."""

    PROJECT = strawberry.enum_value("project", description="A back-end of the project.")
    ORGANIZATION = strawberry.enum_value(
        "organization", description="One organization: reads its own, moves nothing."
    )


@strawberry.type(description="A tenant: one application with its own keys and settings.")
class Project:
    """A project."""

    id: strawberry.ID = strawberry.field(description="The project's id.")
    slug: str = strawberry.field(description="Its short name, unique.")
    name: str = strawberry.field(description="Its name.")
    created_at: datetime = strawberry.field(description="When it was made.")
    allowed_origins: list[str] = strawberry.field(
        description="From which pages its keys may be used, besides those that the server allows."
    )

    @classmethod
    def of(cls, row: domain.Project) -> "Project":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            slug=row.slug,
            name=row.name,
            created_at=row.created_at,
            allowed_origins=row.allowed_origins,
        )


@strawberry.type(description="Who pays: has exactly one credit account.")
class Organization:
    """An organization."""

    id: strawberry.ID = strawberry.field(description="The organization's id.")
    project_id: strawberry.ID = strawberry.field(description="The project it belongs to.")
    name: str = strawberry.field(description="Its name.")
    kind: OrganizationKind = strawberry.field(description="One person or several.")
    external_ref: str | None = strawberry.field(description="Its id in your system.")
    created_at: datetime = strawberry.field(description="When it was made.")

    @strawberry.field(description="Its credits, as of now.")
    async def credit_balance(self, info: Info[Any, Any]) -> CreditBalance:
        return CreditBalance.of(await context_of(info).balance(UUID(self.id)))

    @classmethod
    def of(cls, row: domain.Organization) -> "Organization":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            project_id=strawberry.ID(str(row.project_id)),
            name=row.name,
            kind=OrganizationKind(row.kind),
            external_ref=row.external_ref,
            created_at=row.created_at,
        )


@strawberry.type(description="A key, without its secret.")
class ApiKey:
    """A key."""

    id: strawberry.ID = strawberry.field(description="The key's id.")
    kind: KeyKindName = strawberry.field(description="Whose it is.")
    project_id: strawberry.ID = strawberry.field(description="The project.")
    organization_id: strawberry.ID | None = strawberry.field(description="The organization.")
    name: str = strawberry.field(description="Its name.")
    prefix: str = strawberry.field(description="How its secret begins.")
    last4: str = strawberry.field(description="How its secret ends.")
    scopes: list[str] = strawberry.field(description="What it may do besides.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="When it ends; null: never.")
    revoked_at: datetime | None = strawberry.field(
        description="When it was revoked; null: it was not."
    )

    @classmethod
    def of(cls, row: domain.RevokedKey) -> "ApiKey":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)),
            kind=KeyKindName(row.kind),
            project_id=strawberry.ID(str(row.project_id)),
            organization_id=None
            if row.organization_id is None
            else strawberry.ID(str(row.organization_id)),
            name=row.name,
            prefix=row.prefix,
            last4=row.last4,
            scopes=row.scopes,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )


@strawberry.type(description="A page of projects, oldest first.")
class ProjectConnection(Connection[Project]):
    """Projects."""


@strawberry.type(description="A page of organizations, oldest first.")
class OrganizationConnection(Connection[Organization]):
    """Organizations."""
