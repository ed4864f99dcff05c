"""Who may do what, in one table.

Reserve, extend, settle, release and deduct: administrators and project keys; what a
person spends, a flow spends for them. Giving credits and taking them, and settings:
administrators, or a project key with the scope `credits:grant`. What the project sells:
administrators, or a project key with the scope `catalog:write`. Calls of models: administrators,
project keys, and organization keys with the scope `models:call`. Else organization keys read,
and only their own organization and what their project sells.
"""

from dataclasses import dataclass
from enum import StrEnum

from app.core.refusals import Refusal
from app.identity.viewer import Viewer, ViewerKind

_ADMIN = frozenset({ViewerKind.ADMIN})
_BACK_ENDS = frozenset({ViewerKind.ADMIN, ViewerKind.PROJECT_KEY})
_ANYONE_KNOWN = frozenset({ViewerKind.ADMIN, ViewerKind.PROJECT_KEY, ViewerKind.ORGANIZATION_KEY})

SCOPE_GRANT = "credits:grant"
SCOPE_KEYS = "keys:write"
SCOPE_CATALOG = "catalog:write"
SCOPE_DOCUMENTS = "documents:any"
SCOPE_MODELS = "models:call"
SCOPES = frozenset({SCOPE_GRANT, SCOPE_KEYS, SCOPE_CATALOG, SCOPE_DOCUMENTS})
# Of organization keys, which front ends may hold: they read unless it is said otherwise.
ORGANIZATION_SCOPES = frozenset({SCOPE_MODELS})


class Operation(StrEnum):
    """What can be asked for."""

    READ_ORGANIZATION = "organization.read"
    CREATE_ORGANIZATION = "organization.create"
    UPDATE_ORGANIZATION = "organization.update"
    READ_PROJECT = "project.read"
    CREATE_PROJECT = "project.create"
    UPDATE_PROJECT = "project.update"
    CREATE_PROJECT_KEY = "project_key.create"
    CREATE_ORGANIZATION_KEY = "organization_key.create"
    REVOKE_KEY = "key.revoke"
    READ_CATALOG = "catalog.read"
    EDIT_CATALOG = "catalog.edit"
    READ_CREDITS = "credits.read"
    RESERVE = "credits.reserve"
    EXTEND = "credits.extend"
    SETTLE = "credits.settle"
    RELEASE = "credits.release"
    DEDUCT = "credits.deduct"
    GRANT = "credits.grant"
    ADJUST = "credits.adjust"
    REFUND = "credits.refund"
    VOID = "credits.void"
    FORGIVE = "credits.forgive"
    CHECK_ACCESS = "models.check"
    CALL_MODELS = "models.call"
    IDENTIFY_CUSTOMER = "customer.identify"


@dataclass(frozen=True, slots=True)
class Right:
    """Which viewers have it, and the scope that a key needs besides."""

    viewers: frozenset[ViewerKind]
    scope: str | None = None
    scope_of: ViewerKind = ViewerKind.PROJECT_KEY


RIGHTS: dict[Operation, Right] = {
    Operation.READ_ORGANIZATION: Right(_ANYONE_KNOWN),
    Operation.CREATE_ORGANIZATION: Right(_BACK_ENDS),
    Operation.UPDATE_ORGANIZATION: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.READ_PROJECT: Right(_BACK_ENDS),
    Operation.CREATE_PROJECT: Right(_ADMIN),
    Operation.UPDATE_PROJECT: Right(_BACK_ENDS, SCOPE_KEYS),
    Operation.CREATE_PROJECT_KEY: Right(_ADMIN),
    Operation.CREATE_ORGANIZATION_KEY: Right(_BACK_ENDS, SCOPE_KEYS),
    Operation.REVOKE_KEY: Right(_BACK_ENDS, SCOPE_KEYS),
    Operation.READ_CATALOG: Right(_ANYONE_KNOWN),
    Operation.EDIT_CATALOG: Right(_BACK_ENDS, SCOPE_CATALOG),
    Operation.READ_CREDITS: Right(_ANYONE_KNOWN),
    Operation.RESERVE: Right(_BACK_ENDS),
    Operation.EXTEND: Right(_BACK_ENDS),
    Operation.SETTLE: Right(_BACK_ENDS),
    Operation.RELEASE: Right(_BACK_ENDS),
    Operation.DEDUCT: Right(_BACK_ENDS),
    Operation.GRANT: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.ADJUST: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.REFUND: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.VOID: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.FORGIVE: Right(_BACK_ENDS, SCOPE_GRANT),
    Operation.CHECK_ACCESS: Right(_ANYONE_KNOWN),
    Operation.IDENTIFY_CUSTOMER: Right(_BACK_ENDS),
    Operation.CALL_MODELS: Right(_ANYONE_KNOWN, SCOPE_MODELS, ViewerKind.ORGANIZATION_KEY),
}


def require(viewer: Viewer, operation: Operation) -> None:
    """Refuse a viewer who may not do this to anything."""
    if viewer.kind is ViewerKind.ANONYMOUS:
        raise Refusal("UNAUTHENTICATED")
    right = RIGHTS[operation]
    if viewer.kind not in right.viewers:
        raise Refusal("FORBIDDEN", {"operation": operation.value})
    if (
        right.scope is not None
        and viewer.kind is right.scope_of
        and right.scope not in viewer.scopes
    ):
        raise Refusal("SCOPE_REQUIRED", {"scope": right.scope})
