"""Projects, organizations and keys in GraphQL."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import strawberry
from strawberry.types import Info

from app.core.refusals import invalid
from app.identity import identity as domain
from app.identity.keys import KeyKind, make_key
from app.identity.rights import SCOPES, Operation
from app.identity.viewer import ViewerKind
from db.driver import Connection as DatabaseConnection
from schema.context import Context, context_of
from schema.credits.types import CreditBalance, TakesEffect
from schema.inputs import read_id, read_key, read_text, value_of
from schema.pages import After, Connection, First, check_first, page, read_cursor
from schema.refusals import (
    BalanceLimit,
    BalanceNotFound,
    Busy,
    Conflict,
    DuplicateRequest,
    Forbidden,
    InvalidInput,
    NotFound,
    RefusalsAsData,
    ScopeRequired,
)
from schema.scalars import Credits

_UNLIMITED = -1


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

    @classmethod
    def of(cls, row: domain.Project) -> "Project":
        """Return the type of a row."""
        return cls(
            id=strawberry.ID(str(row.id)), slug=row.slug, name=row.name, created_at=row.created_at
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
        services = context_of(info).services
        checked = await services.credits.check_balance(UUID(self.id))
        return CreditBalance.of(checked.balance)

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


@strawberry.type(description="A page of projects, oldest first.")
class ProjectConnection(Connection[Project]):
    """Projects."""


@strawberry.type(description="A page of organizations, oldest first.")
class OrganizationConnection(Connection[Organization]):
    """Organizations."""


@strawberry.type
class IdentityQueries:
    """What can be asked about projects and organizations."""

    @strawberry.field(description="One organization.")
    async def organization(
        self,
        info: Info[Any, Any],
        id: Annotated[  # noqa: A002  # the contract's word
            strawberry.ID, strawberry.argument(description="Which.")
        ],
    ) -> Organization:
        context = context_of(info)
        context.require(Operation.READ_ORGANIZATION)
        organization_id = read_id(id, "id")
        await context.authorize(Operation.READ_ORGANIZATION, organization_id)
        return Organization.of(await context.services.identity.organization(organization_id))

    @strawberry.field(description="The organizations this key may see, oldest first.")
    async def organizations(
        self,
        info: Info[Any, Any],
        first: First = 20,
        after: After = None,
        project_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only those of a project.")
        ] = None,
    ) -> OrganizationConnection:
        context = context_of(info)
        context.require(Operation.READ_ORGANIZATION)
        cursor = read_cursor(after)
        asked = None if project_id is None else read_id(project_id, "projectId")
        own = context.viewer.project_id
        project = asked if own is None else own
        identity = context.services.identity
        rows = await identity.organizations(
            project_id=project,
            organization_id=context.viewer.organization_id,
            after=None if cursor is None else read_id(cursor, "after"),
            limit=check_first(first),
        )
        # A key that asks about another project finds none, whatever there is.
        foreign = asked not in (None, project)

        async def count() -> int:
            if foreign:
                return 0
            return await identity.count_organizations(project, context.viewer.organization_id)

        return page(
            OrganizationConnection,
            first,
            after,
            [] if foreign else [(row.id, Organization.of(row)) for row in rows],
            count,
        )

    @strawberry.field(description="The projects this key may see, oldest first.")
    async def projects(
        self, info: Info[Any, Any], first: First = 20, after: After = None
    ) -> ProjectConnection:
        context = context_of(info)
        context.require(Operation.READ_PROJECT)
        cursor = read_cursor(after)
        own = context.viewer.project_id
        identity = context.services.identity
        rows = await identity.projects(
            project_id=own,
            after=None if cursor is None else read_id(cursor, "after"),
            limit=check_first(first),
        )
        return page(
            ProjectConnection,
            first,
            after,
            [(row.id, Project.of(row)) for row in rows],
            lambda: identity.count_projects(own),
        )


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
        description="`credits:grant` to give and take credits, `keys:write` to make keys.",
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
    expires_at: datetime | None = strawberry.field(
        default=None, description="When it ends; never if left out."
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


_REPLAYED = "Whether an earlier request had this key and this is its answer again."


@strawberry.type(description="The project is made.")
class CreateProjectSuccess:
    """Result of `createProject`."""

    project: Project = strawberry.field(description="The project.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The organization is made and its account is open.")
class CreateOrganizationSuccess:
    """Result of `createOrganization`."""

    organization: Organization = strawberry.field(description="The organization.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The key is made.")
class CreateKeySuccess:
    """Result of `createProjectKey` and `createOrganizationKey`."""

    key: ApiKey = strawberry.field(description="The key.")
    secret: str = strawberry.field(
        description="What to send as `Authorization: Bearer …`. Shown here, and for 24 hours"
        " to the same request again; kept nowhere else."
    )
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The terms are changed.")
class UpdateOrganizationSettingsSuccess:
    """Result of `updateOrganizationSettings`."""

    balance: CreditBalance = strawberry.field(description="The balance after it.")
    allowance_takes_effect_at: datetime | None = strawberry.field(
        description="When the new allowance takes effect; null if it was not changed."
    )
    replayed: bool = strawberry.field(description=_REPLAYED)


CreateProjectResult = Annotated[
    CreateProjectSuccess | Conflict | DuplicateRequest | Forbidden | InvalidInput | Busy,
    strawberry.union("CreateProjectResult", description="What came of it."),
]
CreateOrganizationResult = Annotated[
    CreateOrganizationSuccess
    | Conflict
    | DuplicateRequest
    | Forbidden
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("CreateOrganizationResult", description="What came of it."),
]
CreateKeyResult = Annotated[
    CreateKeySuccess
    | Conflict
    | DuplicateRequest
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("CreateKeyResult", description="What came of it."),
]
UpdateOrganizationSettingsResult = Annotated[
    UpdateOrganizationSettingsSuccess
    | BalanceLimit
    | BalanceNotFound
    | DuplicateRequest
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("UpdateOrganizationSettingsResult", description="What came of it."),
]

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
            ),
            replayed=replayed,
        )

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
        if unknown := sorted(set(input.scopes) - SCOPES):
            raise invalid("scopes", f"has no scope {unknown[0]!r}; there are {sorted(SCOPES)}")
        return await _create_key(
            context,
            Operation.CREATE_PROJECT_KEY,
            "project",
            read_id(input.project_id, "projectId"),
            None,
            input.name,
            sorted(set(input.scopes)),
            input.expires_at,
            input.idempotency_key,
        )

    @strawberry.mutation(
        description="Make a key for an organization: it reads its own credits.",
        extensions=[RefusalsAsData()],
    )
    async def create_organization_key(
        self,
        info: Info[Any, Any],
        input: Annotated[CreateOrganizationKeyInput, Input],  # noqa: A002
    ) -> CreateKeyResult:
        context = context_of(info)
        context.require(Operation.CREATE_ORGANIZATION_KEY)
        organization_id = read_id(input.organization_id, "organizationId")
        await context.authorize(Operation.CREATE_ORGANIZATION_KEY, organization_id)
        organization = await context.services.identity.organization(organization_id)
        return await _create_key(
            context,
            Operation.CREATE_ORGANIZATION_KEY,
            "organization",
            organization.project_id,
            organization_id,
            input.name,
            [],
            input.expires_at,
            input.idempotency_key,
        )

    @strawberry.mutation(
        description="Change an organization's overdraft, allowance or low-balance threshold.",
        extensions=[RefusalsAsData()],
    )
    async def update_organization_settings(
        self,
        info: Info[Any, Any],
        input: Annotated[UpdateOrganizationSettingsInput, Input],  # noqa: A002
    ) -> UpdateOrganizationSettingsResult:
        context = context_of(info)
        context.require(Operation.UPDATE_ORGANIZATION)
        organization_id = read_id(input.organization_id, "organizationId")
        await context.authorize(Operation.UPDATE_ORGANIZATION, organization_id)
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
        ),
        secret=response["secret"],
        replayed=replayed,
    )


def _project(context: Context, asked: strawberry.ID | None) -> UUID:
    own = context.viewer.project_id
    if asked is None:
        if own is None:
            raise invalid("projectId", "must name the project: this key belongs to none")
        return own
    project_id = read_id(asked, "projectId")
    if context.viewer.kind is not ViewerKind.ADMIN and project_id != own:
        raise invalid("projectId", "must be the project of this key")
    return project_id


def _scope(context: Context, operation: Operation) -> str:
    return f"{context.viewer.kind.value}:{context.viewer.id}:{operation.value}"
