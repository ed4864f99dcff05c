"""Types of the inference domain."""

from datetime import datetime
from typing import Any

import strawberry

from app.inference import rows
from schema.inference.enums import AccessDenialReason, UsageLimitName
from schema.scalars import Credits


@strawberry.type(description="How many calls may begin within a time; the time slides.")
class UsageLimit:
    """A limit, and what is used of it."""

    name: UsageLimitName = strawberry.field(description="What it counts.")
    most: int = strawberry.field(description="How many may begin; 0 blocks.")
    used: int = strawberry.field(
        description="How many have begun: under way or charged, but not those given back."
    )
    left: int = strawberry.field(description="How many more may begin now.")
    window_seconds: int = strawberry.field(description="Within how long.")
    resets_at: datetime | None = strawberry.field(
        description="When the next may begin, once it is reached; null for a limit of 0."
    )

    @classmethod
    def of(cls, row: dict[str, Any]) -> "UsageLimit":
        """Return the type of a limit as Postgres tells it."""
        at = row["resets_at"]
        return cls(
            name=UsageLimitName(row["name"]),
            most=row["most"],
            used=row["used"],
            left=row["left"],
            window_seconds=row["window_seconds"],
            resets_at=None if at is None else datetime.fromisoformat(at),
        )


@strawberry.type(description="A quality level that is open, and the models that answer at it.")
class OpenQualityLevel:
    """A level of a plan's feature."""

    quality: str = strawberry.field(description="The level's key.")
    name: str = strawberry.field(description="What people call it.")
    models: list[str] = strawberry.field(
        description="The keys of its models: the first answers, the others stand in for it."
    )


@strawberry.type(description="Whether a model may be called, and what would help if not.")
class FeatureAccess:
    """What an organization may do with a feature."""

    is_allowed: bool = strawberry.field(
        description="Whether a call would begin now. Advice: only the call itself decides."
    )
    reason: AccessDenialReason | None = strawberry.field(
        description="The first thing that stands against it; null if nothing does."
    )
    plan: str | None = strawberry.field(description="The plan's key; null without a plan.")
    plan_version: int | None = strawberry.field(description="Which version of it is held.")
    quality: str | None = strawberry.field(
        description="The level that would answer; null where the plan opens any model."
    )
    model: str | None = strawberry.field(description="The model that would answer.")
    estimate: Credits | None = strawberry.field(
        description="What a call is taken to cost, at least; null for what is not open."
    )
    spendable: Credits = strawberry.field(description="What could be spent now.")
    shortfall: Credits | None = strawberry.field(description="What is missing of the estimate.")
    period_end: datetime = strawberry.field(description="When the allowance is given again.")
    available_quality_levels: list[OpenQualityLevel] = strawberry.field(
        description="The levels that are open, the plainest first."
    )
    limits: list[UsageLimit] = strawberry.field(
        description="The limits of the feature; those of an end customer if one was named."
    )
    opening_plans: list[str] = strawberry.field(
        description="Plans that are sold and would open it, the lowest first."
    )

    @classmethod
    def of(cls, row: rows.Access) -> "FeatureAccess":
        """Return the type of a row."""
        return cls(
            is_allowed=row.is_allowed,
            reason=None if row.reason is None else AccessDenialReason(row.reason),
            plan=row.plan_key,
            plan_version=row.plan_version,
            quality=row.quality,
            model=row.model,
            estimate=None if row.estimate is None else Credits(row.estimate),
            spendable=Credits(row.spendable),
            shortfall=None if row.shortfall is None else Credits(row.shortfall),
            period_end=row.period_end,
            available_quality_levels=[OpenQualityLevel(**level) for level in row.levels],
            limits=[UsageLimit.of(limit) for limit in row.limits],
            opening_plans=row.opening_plans,
        )


@strawberry.type(description="An AI feature that the plan opens, and its limits.")
class FeatureLimits:
    """The limits of a feature."""

    feature: str = strawberry.field(description="The feature's key.")
    name: str = strawberry.field(description="What people call it.")
    reason: AccessDenialReason | None = strawberry.field(
        description="Why it is closed for now, whatever its limits; null if it is open."
    )
    limits: list[UsageLimit] = strawberry.field(description="Those it has; none is no limit.")

    @classmethod
    def of(cls, row: rows.FeatureLimits) -> "FeatureLimits":
        """Return the type of a row."""
        return cls(
            feature=row.feature,
            name=row.name,
            reason=None if row.reason is None else AccessDenialReason(row.reason),
            limits=[UsageLimit.of(limit) for limit in row.limits],
        )
