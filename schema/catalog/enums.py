"""Enumerations of the catalog domain; their values are Postgres' own words."""

from enum import Enum

import strawberry


@strawberry.enum(description="What a feature is.")
class FeatureKind(Enum):
    """Kinds of features."""

    AI = strawberry.enum_value("ai", description="Calls models, at levels of quality.")
    BOOLEAN = strawberry.enum_value("boolean", description="Is open or not.")
    LIMIT = strawberry.enum_value("limit", description="Has a number: so many of something.")
    METERED = strawberry.enum_value("metered", description="Is counted as it is used.")


@strawberry.enum(description="How a plan is sold.")
class PlanKind(Enum):
    """Kinds of plans."""

    RECURRING = strawberry.enum_value("recurring", description="By the month or the year.")
    ONE_TIME = strawberry.enum_value("one_time", description="Once.")
    ADD_ON = strawberry.enum_value("add_on", description="Beside another plan.")


@strawberry.enum(description="What a model is made for.")
class ModelTier(Enum):
    """Tiers of models."""

    FAST = strawberry.enum_value("fast", description="Answers soon and costs little.")
    BALANCED = strawberry.enum_value("balanced", description="Between the others.")
    POWERFUL = strawberry.enum_value("powerful", description="Answers best.")


@strawberry.enum(description="What a model can do.")
class ModelCapability(Enum):
    """Capabilities of models."""

    TEXT = strawberry.enum_value("text", description="Reads and writes text.")
    VISION = strawberry.enum_value("vision", description="Looks at images.")
    FUNCTION_CALLING = strawberry.enum_value("function_calling", description="Calls tools.")
    CODE = strawberry.enum_value("code", description="Is made for code.")
    LONG_CONTEXT = strawberry.enum_value("long_context", description="Reads very long texts.")


@strawberry.enum(description="What was edited.")
class CatalogSubject(Enum):
    """Subjects of edits."""

    FEATURE = strawberry.enum_value("feature", description="A feature.")
    QUALITY_LEVEL = strawberry.enum_value("quality_level", description="A quality level.")
    MODEL = strawberry.enum_value("model", description="A model, or what it costs.")
    PLAN = strawberry.enum_value("plan", description="A plan.")
    DEFAULT_PLAN = strawberry.enum_value(
        "default_plan", description="Which plan those have who chose none."
    )
