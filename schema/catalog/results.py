"""What the catalog mutations answer: a success, or one of the refusals each lists."""

from typing import Annotated

import strawberry

from schema.catalog.types import Feature, Model, Plan, QualityLevel
from schema.refusals import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlanInactive,
    ScopeRequired,
)

_REPLAYED = "Whether it was so before: nothing was changed."


@strawberry.type(description="The feature is as it was to be.")
class UpsertFeatureSuccess:
    """Result of `upsertFeature`."""

    feature: Feature = strawberry.field(description="The feature.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The quality level is as it was to be.")
class UpsertQualityLevelSuccess:
    """Result of `upsertQualityLevel`."""

    quality_level: QualityLevel = strawberry.field(description="The level.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The model is as it was to be.")
class UpsertModelSuccess:
    """Result of `upsertModel`."""

    model: Model = strawberry.field(description="The model.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The plan is as it was to be.")
class UpsertPlanSuccess:
    """Result of `upsertPlan`."""

    plan: Plan = strawberry.field(description="The plan.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The plan is sold no more, or again.")
class ArchivePlanSuccess:
    """Result of `archivePlan`."""

    plan: Plan = strawberry.field(description="The plan.")
    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="Those who chose no plan have this one.")
class SetDefaultPlanSuccess:
    """Result of `setDefaultPlan`."""

    plan: Plan | None = strawberry.field(description="The plan; null: none.")
    replayed: bool = strawberry.field(description=_REPLAYED)


UpsertFeatureResult = Annotated[
    UpsertFeatureSuccess | Conflict | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("UpsertFeatureResult", description="What came of it."),
]
UpsertQualityLevelResult = Annotated[
    UpsertQualityLevelSuccess | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("UpsertQualityLevelResult", description="What came of it."),
]
UpsertModelResult = Annotated[
    UpsertModelSuccess | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("UpsertModelResult", description="What came of it."),
]
UpsertPlanResult = Annotated[
    UpsertPlanSuccess
    | Conflict
    | PlanInactive
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("UpsertPlanResult", description="What came of it."),
]
ArchivePlanResult = Annotated[
    ArchivePlanSuccess | Forbidden | ScopeRequired | NotFound | InvalidInput | Busy,
    strawberry.union("ArchivePlanResult", description="What came of it."),
]
SetDefaultPlanResult = Annotated[
    SetDefaultPlanSuccess
    | PlanInactive
    | Forbidden
    | ScopeRequired
    | NotFound
    | InvalidInput
    | Busy,
    strawberry.union("SetDefaultPlanResult", description="What came of it."),
]
