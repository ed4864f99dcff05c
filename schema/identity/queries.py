"""Queries of the identity domain."""

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.identity.rights import Operation
from schema.context import context_of
from schema.identity.types import Organization, OrganizationConnection, Project, ProjectConnection
from schema.inputs import read_id
from schema.pages import After, First, check_first, page, read_cursor


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
