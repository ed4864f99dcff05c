"""Queries of the catalog domain."""

from typing import Annotated, Any

import strawberry
from strawberry.types import Info

from app.catalog import CatalogSnapshot
from app.catalog.filters import ModelFilter, models_of
from app.core.refusals import Refusal, invalid
from app.identity.rights import Operation
from schema.catalog.enums import FeatureKind
from schema.catalog.inputs import ModelFilterInput
from schema.catalog.types import (
    CatalogChange,
    CatalogChangeConnection,
    Feature,
    Model,
    Plan,
    QualityLevel,
)
from schema.context import context_of
from schema.inputs import read_text, value_of, values_of
from schema.pages import After, First, check_first, page, read_cursor
from schema.projects import ProjectId, own_project


@strawberry.type
class CatalogQueries:
    """What can be asked about what a project sells."""

    @strawberry.field(description="The plans that are sold, the smallest first.")
    async def plans(
        self,
        info: Info[Any, Any],
        project_id: ProjectId = None,
        *,
        include_archived: Annotated[
            bool, strawberry.argument(description="Also those that are sold no more.")
        ] = False,
    ) -> list[Plan]:
        catalog = await _catalog(info, project_id)
        return [
            Plan.of(row, catalog)
            for row in catalog.plans
            if include_archived or row.archived_at is None
        ]

    @strawberry.field(description="One plan, as it is sold now.")
    async def plan(
        self,
        info: Info[Any, Any],
        key: Annotated[str, strawberry.argument(description="Which.")],
        project_id: ProjectId = None,
    ) -> Plan:
        catalog = await _catalog(info, project_id)
        row = catalog.plan_by_key.get(read_text(key, "key") or "")
        if row is None:
            raise Refusal("NOT_FOUND", {"kind": "plan", "id": key})
        return Plan.of(row, catalog)

    @strawberry.field(description="The features that plans can open, by key.")
    async def features(
        self,
        info: Info[Any, Any],
        project_id: ProjectId = None,
        kind: Annotated[
            FeatureKind | None, strawberry.argument(description="Only those of a kind.")
        ] = None,
    ) -> list[Feature]:
        catalog = await _catalog(info, project_id)
        return [
            Feature.of(row)
            for row in catalog.features
            if kind is None or row.kind == value_of(kind)
        ]

    @strawberry.field(description="The quality levels, the plainest first.")
    async def quality_levels(
        self, info: Info[Any, Any], project_id: ProjectId = None
    ) -> list[QualityLevel]:
        catalog = await _catalog(info, project_id)
        return [QualityLevel.of(row) for row in catalog.quality_levels]

    @strawberry.field(description="The models: those that are available first, by name.")
    async def models(
        self,
        info: Info[Any, Any],
        project_id: ProjectId = None,
        filter: Annotated[  # noqa: A002  # the contract's word
            ModelFilterInput | None, strawberry.argument(description="Only such.")
        ] = None,
    ) -> list[Model]:
        catalog = await _catalog(info, project_id)
        asked = ModelFilter()
        if filter is not None:
            if filter.quality is not None and filter.plan is None:
                raise invalid("quality", "must come with a plan: levels are of its features")
            asked = ModelFilter(
                is_available=filter.is_available,
                provider=read_text(filter.provider, "provider"),
                tier=None if filter.tier is None else value_of(filter.tier),
                capabilities=values_of(filter.capabilities),
                plan=read_text(filter.plan, "plan"),
                feature=read_text(filter.feature, "feature"),
                quality=read_text(filter.quality, "quality"),
            )
        return [Model.of(row, catalog) for row in models_of(catalog, asked)]

    @strawberry.field(description="One model.")
    async def model(
        self,
        info: Info[Any, Any],
        key: Annotated[str, strawberry.argument(description="Which.")],
        project_id: ProjectId = None,
    ) -> Model:
        catalog = await _catalog(info, project_id)
        row = catalog.model_by_key.get(read_text(key, "key") or "")
        if row is None:
            raise Refusal("NOT_FOUND", {"kind": "model", "id": key})
        return Model.of(row, catalog)

    @strawberry.field(description="Who edited the catalog, the newest edit first.")
    async def catalog_changes(
        self,
        info: Info[Any, Any],
        first: First = 20,
        after: After = None,
        project_id: ProjectId = None,
    ) -> CatalogChangeConnection:
        context = context_of(info)
        context.require(Operation.EDIT_CATALOG)
        project = own_project(context, project_id)
        cursor = read_cursor(after)
        if cursor is not None and not cursor.isdecimal():
            raise invalid("after", "must be a cursor of this list")
        catalog = context.services.catalog
        rows = await catalog.changes(
            project,
            before_version=None if cursor is None else int(cursor),
            limit=check_first(first),
        )

        async def count() -> int:
            # Each edit is one version of the whole.
            return await catalog.version(project) or 0

        return page(
            CatalogChangeConnection,
            first,
            after,
            [(row.catalog_version, CatalogChange.of(row)) for row in rows],
            count,
        )


async def _catalog(info: Info[Any, Any], project_id: strawberry.ID | None) -> CatalogSnapshot:
    context = context_of(info)
    context.require(Operation.READ_CATALOG)
    return await context.services.catalog.snapshot(own_project(context, project_id))
