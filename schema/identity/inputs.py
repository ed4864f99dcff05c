"""Inputs of the identity mutations."""

from datetime import datetime

import strawberry

from schema.credits.enums import TakesEffect
from schema.identity.types import (
    OrganizationKind,
)
from schema.scalars import Credits


@strawberry.input(description="Make a project.")
class CreateProjectInput:
    """Input of `createProject`."""

    slug: str = strawberry.field(
        description="1 to 63 lowercase letters, digits and hyphens; unique."
    )
    name: str = strawberry.field(description="1 to 200 characters.")
    idempotency_key: str = strawberry.field(description="Names this request for 24 hours.")


@strawberry.input(description="Make an organization, with its credit account.")
class CreateOrganizationInput:
    """Input of `createOrganization`."""

    name: str = strawberry.field(description="1 to 200 characters.")
    idempotency_key: str = strawberry.field(description="Names this request for 24 hours.")
    project_id: strawberry.ID | None = strawberry.field(
        default=None, description="The project; a project key's own if left out."
    )
    kind: OrganizationKind = strawberry.field(
        default=OrganizationKind.TEAM, description="One person or several."
    )
    external_ref: str | None = strawberry.field(
        default=None,
        description="Its id in your system: a second request for it answers the first one.",
    )


@strawberry.input(description="Make a key for a project's back-end.")
class CreateProjectKeyInput:
    """Input of `createProjectKey`."""

    project_id: strawberry.ID = strawberry.field(description="The project.")
    name: str = strawberry.field(description="What it is for.")
    idempotency_key: str = strawberry.field(description="Names this request for 24 hours.")
    scopes: list[str] = strawberry.field(
        default_factory=list,
        description="`credits:grant` to give and take credits, `keys:write` to make keys,"
        " `catalog:write` to edit what the project sells.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends; never if left out."
    )


@strawberry.input(description="Make a key for an organization.")
class CreateOrganizationKeyInput:
    """Input of `createOrganizationKey`."""

    organization_id: strawberry.ID = strawberry.field(description="The organization.")
    name: str = strawberry.field(description="What it is for.")
    idempotency_key: str = strawberry.field(description="Names this request for 24 hours.")
    scopes: list[str] = strawberry.field(
        default_factory=list,
        description="`models:call` to call models and spend the organization's credits.",
    )
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends; never if left out."
    )


@strawberry.input(description="End a key.")
class RevokeKeyInput:
    """Input of `revokeKey`."""

    key_id: strawberry.ID = strawberry.field(description="The key; its secret is not asked for.")


@strawberry.input(description="Change a project's settings.")
class UpdateProjectSettingsInput:
    """Input of `updateProjectSettings`."""

    project_id: strawberry.ID = strawberry.field(description="The project.")
    allowed_origins: list[str] = strawberry.field(
        description="From which pages its keys may be used: at most 50 origins such as"
        " `https://app.example`, instead of those before."
    )


@strawberry.input(description="Change an organization's terms. What is left out stays.")
class UpdateOrganizationSettingsInput:
    """Input of `updateOrganizationSettings`."""

    organization_id: strawberry.ID = strawberry.field(description="The organization.")
    idempotency_key: str = strawberry.field(description="Names this request.")
    overdraft_limit: Credits | None = strawberry.field(
        default=None, description="How much may be owed."
    )
    allowance: Credits | None = strawberry.field(
        default=None, description="Granted each month; 0 is none."
    )
    unlimited: bool = strawberry.field(
        default=False, description="Makes the allowance unlimited, instead of a number."
    )
    takes_effect: TakesEffect = strawberry.field(
        default=TakesEffect.NOW, description="When a new allowance takes effect."
    )
    rollover_cap: Credits | None = strawberry.field(
        default=None, description="How much of a month's rest moves to the next."
    )
    low_balance_percent: int | None = strawberry.field(
        default=None, description="Below which share of the allowance it runs low, 10 to 50."
    )
    reason: str | None = strawberry.field(default=None, description="Why.")
