"""What the identity mutations answer: a success, or one of the refusals each lists."""

from datetime import datetime
from typing import Annotated

import strawberry

from schema.credits.types import CreditBalance
from schema.identity.types import (
    ApiKey,
    Organization,
    Project,
)
from schema.refusals import (
    BalanceLimit,
    BalanceNotFound,
    Busy,
    Conflict,
    DuplicateRequest,
    Forbidden,
    InvalidInput,
    NotFound,
    ScopeRequired,
)

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


@strawberry.type(description="The key no longer works.")
class RevokeKeySuccess:
    """Result of `revokeKey`."""

    key: ApiKey = strawberry.field(description="The key.")
    replayed: bool = strawberry.field(description="Whether it had been revoked before.")


@strawberry.type(description="The project has these settings.")
class UpdateProjectSettingsSuccess:
    """Result of `updateProjectSettings`."""

    project: Project = strawberry.field(description="The project.")
    replayed: bool = strawberry.field(description="Whether it had them before.")


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
RevokeKeyResult = Annotated[
    RevokeKeySuccess | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("RevokeKeyResult", description="What came of it."),
]
UpdateProjectSettingsResult = Annotated[
    UpdateProjectSettingsSuccess | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("UpdateProjectSettingsResult", description="What came of it."),
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
