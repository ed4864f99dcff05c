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


def own_project(context: Context, asked: strawberry.ID | None) -> UUID:
    """Return the project that is asked about, which a key's own has to be.

    Somebody else's project and one that does not exist look the same.
    """
    own = context.viewer.project_id
    if asked is None:
        if own is None:
            raise invalid("projectId", "must name the project: this key belongs to none")
        return own
    project_id = read_id(asked, "projectId")
    if own not in (None, project_id):
        raise Refusal("NOT_FOUND", {"kind": "project", "id": str(project_id)})
    return project_id
