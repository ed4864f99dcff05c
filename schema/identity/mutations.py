"""Mutations of the identity domain."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.core.refusals import invalid
from app.identity.keys import KeyKind, make_key
from app.identity.rights import ORGANIZATION_SCOPES, SCOPES, Operation
from app.identity.viewer import ViewerKind
from db.driver import Connection as DatabaseConnection
from schema.context import Context, account_of, context_of
from schema.credits.types import CreditBalance
from schema.identity.inputs import (
    CreateOrganizationInput,
    CreateOrganizationKeyInput,
    CreateProjectInput,
    CreateProjectKeyInput,
    RevokeKeyInput,
    UpdateOrganizationSettingsInput,
    UpdateProjectSettingsInput,
)
from schema.identity.results import (
    CreateKeyResult,
    CreateKeySuccess,
    CreateOrganizationResult,
    CreateOrganizationSuccess,
    CreateProjectResult,
    CreateProjectSuccess,
    RevokeKeyResult,
    RevokeKeySuccess,
    UpdateOrganizationSettingsResult,
    UpdateOrganizationSettingsSuccess,
    UpdateProjectSettingsResult,
    UpdateProjectSettingsSuccess,
)
from schema.identity.types import (
    ApiKey,
    KeyKindName,
    Organization,
    OrganizationKind,
    Project,
)
from schema.inputs import read_id, read_key, read_origins, read_text, value_of
from schema.projects import asked_project, check_own
from schema.refusals import (
    RefusalsAsData,
)

_UNLIMITED = -1

Input = strawberry.argument(description="What to do.")


@strawberry.type
class IdentityMutations:
    """What can be done with projects and organizations."""

    @strawberry.mutation(description="Make a project.", extensions=[RefusalsAsData()])
    async def create_project(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateProjectInput, Input],  # noqa: A002  # the contract's word
    ) -> CreateProjectResult:
        context = context_of(info)
        context.require(Operation.CREATE_PROJECT)
        slug, name = read_text(input.slug, "slug") or "", read_text(input.name, "name") or ""

        async def work(connection: DatabaseConnection) -> dict[str, Any]:
            made = await context.services.identity.create_project(slug, name, connection)
            return {
                "id": str(made.id),
                "slug": made.slug,
                "name": made.name,
                "created_at": made.created_at.isoformat(),
            }

        response, replayed = await context.services.idempotency.once(
            _scope(context, Operation.CREATE_PROJECT),
            read_key(input.idempotency_key),
            {"slug": slug, "name": name},
            work,
        )
        return CreateProjectSuccess(
            project=Project(
                id=strawberry.ID(response["id"]),
                slug=response["slug"],
                name=response["name"],
                created_at=datetime.fromisoformat(response["created_at"]),
                allowed_origins=[],
            ),
            replayed=replayed,
        )

    @strawberry.mutation(
        description="Change a project's settings: from which pages its keys may be used. Every"
        " process follows within seconds. A project key changes those of its own project.",
        extensions=[RefusalsAsData()],
    )
    async def update_project_settings(
        self,
        info: Info[Any, Any],
        input: Annotated[UpdateProjectSettingsInput, Input],  # noqa: A002
    ) -> UpdateProjectSettingsResult:
        context = context_of(info)
        context.require(Operation.UPDATE_PROJECT)
        project_id = read_id(input.project_id, "projectId")
        origins = read_origins(input.allowed_origins, "allowedOrigins")
        check_own(context, project_id)
        row = await context.services.identity.set_allowed_origins(project_id, origins)
        return UpdateProjectSettingsSuccess(project=Project.of(row), replayed=row.replayed)

    @strawberry.mutation(
        description="Make an organization and open its credit account by the project's terms.",
        extensions=[RefusalsAsData()],
    )
    async def create_organization(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateOrganizationInput, Input],  # noqa: A002
    ) -> CreateOrganizationResult:
        context = context_of(info)
        context.require(Operation.CREATE_ORGANIZATION)
        project_id = _project(context, input.project_id)
        request = {
            "project_id": str(project_id),
            "name": read_text(input.name, "name") or "",
            "kind": value_of(input.kind),
            "external_ref": read_text(input.external_ref, "externalRef"),
        }

        async def work(connection: DatabaseConnection) -> dict[str, Any]:
            made = await context.services.identity.create_organization(
                project_id,
                request["name"] or "",
                request["kind"] or "",
                request["external_ref"],
                context.actor,
                connection,
            )
            return {
                "id": str(made.id),
                "name": made.name,
                "kind": made.kind,
                "created_at": made.created_at.isoformat(),
                "replayed": made.replayed,
            }

        response, replayed = await context.services.idempotency.once(
            _scope(context, Operation.CREATE_ORGANIZATION),
            read_key(input.idempotency_key),
            request,
            work,
        )
        return CreateOrganizationSuccess(
            organization=Organization(
                id=strawberry.ID(response["id"]),
                project_id=strawberry.ID(str(project_id)),
                name=response["name"],
                kind=OrganizationKind(response["kind"]),
                external_ref=request["external_ref"],
                created_at=datetime.fromisoformat(response["created_at"]),
            ),
            replayed=replayed or response["replayed"],
        )

    @strawberry.mutation(
        description="Make a key for a project's back-end.", extensions=[RefusalsAsData()]
    )
    async def create_project_key(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateProjectKeyInput, Input],  # noqa: A002
    ) -> CreateKeyResult:
        context = context_of(info)
        context.require(Operation.CREATE_PROJECT_KEY)
        return await _create_key(
            context,
            Operation.CREATE_PROJECT_KEY,
            "project",
            read_id(input.project_id, "projectId"),
            None,
            input.name,
            _scopes(input.scopes, SCOPES),
            input.expires_at,
            input.idempotency_key,
        )

    @strawberry.mutation(
        description="Make a key for an organization: it reads its own credits, and calls models if"
        " it has the scope for that.",
        extensions=[RefusalsAsData()],
    )
    async def create_organization_key(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateOrganizationKeyInput, Input],  # noqa: A002
    ) -> CreateKeyResult:
        context, organization_id = await account_of(
            info, Operation.CREATE_ORGANIZATION_KEY, input.organization_id
        )
        organization = await context.services.identity.organization(organization_id)
        return await _create_key(
            context,
            Operation.CREATE_ORGANIZATION_KEY,
            "organization",
            organization.project_id,
            organization_id,
            input.name,
            _scopes(input.scopes, ORGANIZATION_SCOPES),
            input.expires_at,
            input.idempotency_key,
        )

    @strawberry.mutation(
        description="End a key, for good. Every process refuses it within seconds, and ends its"
        " subscriptions. A project key ends keys of its organizations; an administrator any.",
        extensions=[RefusalsAsData()],
    )
    async def revoke_key(
        self,
        info: Info[Any, Any],
        input: Annotated[RevokeKeyInput, Input],  # noqa: A002
    ) -> RevokeKeyResult:
        context = context_of(info)
        context.require(Operation.REVOKE_KEY)
        is_admin = context.viewer.kind is ViewerKind.ADMIN
        row = await context.services.identity.revoke_api_key(
            read_id(input.key_id, "keyId"),
            project_id=context.viewer.project_id,
            kind=None if is_admin else "organization",
        )
        return RevokeKeySuccess(key=ApiKey.of(row), replayed=row.replayed)

    @strawberry.mutation(
        description="Change an organization's overdraft, allowance or low-balance threshold.",
        extensions=[RefusalsAsData()],
    )
    async def update_organization_settings(
        self,
        info: Info[Any, Any],
        input: Annotated[UpdateOrganizationSettingsInput, Input],  # noqa: A002
    ) -> UpdateOrganizationSettingsResult:
        context, organization_id = await account_of(
            info, Operation.UPDATE_ORGANIZATION, input.organization_id
        )
        if input.unlimited and input.allowance is not None:
            raise invalid("allowance", "is a number or unlimited, not both")
        if input.allowance is not None and input.allowance < 0:
            raise invalid("allowance", "must be at least 0")
        row = await context.services.credits.set_terms(
            organization_id,
            read_key(input.idempotency_key),
            overdraft_limit=input.overdraft_limit,
            low_balance_percent=input.low_balance_percent,
            period_grant=_UNLIMITED if input.unlimited else input.allowance,
            takes_effect=value_of(input.takes_effect),
            rollover_cap=input.rollover_cap,
            reason=read_text(input.reason, "reason", 1000),
            actor=context.actor,
        )
        return UpdateOrganizationSettingsSuccess(
            balance=CreditBalance.of(row.balance),
            allowance_takes_effect_at=row.takes_effect_at,
            replayed=row.replayed,
        )


async def _create_key(
    context: Context,
    operation: Operation,
    kind: KeyKind,
    project_id: UUID,
    organization_id: UUID | None,
    name: str,
    scopes: list[str],
    expires_at: datetime | None,
    idempotency_key: str,
) -> CreateKeySuccess:
    async def work(connection: DatabaseConnection) -> dict[str, Any]:
        new = make_key(kind)
        made = await context.services.identity.create_api_key(
            kind,
            project_id,
            read_text(name, "name") or "",
            new.prefix,
            new.last4,
            new.secret_hash,
            organization_id=organization_id,
            scopes=scopes,
            expires_at=expires_at,
            created_by=f"{context.viewer.kind.value}:{context.viewer.id}",
            connection=connection,
        )
        return {
            "id": str(made.id),
            "name": made.name,
            "prefix": made.prefix,
            "last4": made.last4,
            "created_at": made.created_at.isoformat(),
            "secret": new.secret,
        }

    response, replayed = await context.services.idempotency.once(
        _scope(context, operation),
        read_key(idempotency_key),
        {
            "project_id": str(project_id),
            "organization_id": str(organization_id),
            "name": name,
            "scopes": scopes,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        },
        work,
    )
    return CreateKeySuccess(
        key=ApiKey(
            id=strawberry.ID(response["id"]),
            kind=KeyKindName(kind),
            project_id=strawberry.ID(str(project_id)),
            organization_id=None
            if organization_id is None
            else strawberry.ID(str(organization_id)),
            name=response["name"],
            prefix=response["prefix"],
            last4=response["last4"],
            scopes=scopes,
            created_at=datetime.fromisoformat(response["created_at"]),
            expires_at=expires_at,
            revoked_at=None,
        ),
        secret=response["secret"],
        replayed=replayed,
    )


def _project(context: Context, asked: strawberry.ID | None) -> UUID:
    project_id = asked_project(context, asked)
    if context.viewer.kind is not ViewerKind.ADMIN and project_id != context.viewer.project_id:
        raise invalid("projectId", "must be the project of this key")
    return project_id


def _scopes(asked: list[str], known: frozenset[str]) -> list[str]:
    """Return the scopes of a key; refuses one that there is not for its kind."""
    if unknown := sorted(set(asked) - known):
        raise invalid("scopes", f"has no scope {unknown[0]!r}; there are {sorted(known)}")
    return sorted(set(asked))


def _scope(context: Context, operation: Operation) -> str:
    return f"{context.viewer.kind.value}:{context.viewer.id}:{operation.value}"
