"""Which project a request is about."""

from typing import Annotated
from uuid import UUID

import strawberry

from app.core.refusals import Refusal, invalid
from schema.context import Context
from schema.inputs import read_id

ProjectId = Annotated[
    strawberry.ID | None,
    strawberry.argument(description="The project; that of the key if left out."),
]


def asked_project(context: Context, asked: strawberry.ID | None) -> UUID:
    """Return the project that is named, or else that of the key."""
    if asked is not None:
        return read_id(asked, "projectId")
    if context.viewer.project_id is None:
        raise invalid("projectId", "must name the project: this key belongs to none")
    return context.viewer.project_id


def check_own(context: Context, project_id: UUID) -> None:
    """Refuse a key of another project: somebody else's and one that is not there look the same."""
    if context.viewer.project_id not in (None, project_id):
        raise Refusal("NOT_FOUND", {"kind": "project", "id": str(project_id)})


def own_project(context: Context, asked: strawberry.ID | None) -> UUID:
    """Return the project that is asked about, which a key's own has to be."""
    project_id = asked_project(context, asked)
    check_own(context, project_id)
    return project_id
