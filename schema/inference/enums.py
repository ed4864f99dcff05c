"""Enumerations of the inference domain; their values are Postgres' own words."""

from enum import Enum

import strawberry


@strawberry.enum(description="Why a model may not be called, in the order of looking.")
class AccessDenialReason(Enum):
    """Reasons."""

    FEATURE_NOT_FOUND = strawberry.enum_value(
        "feature_not_found", description="The project has no AI feature of that key."
    )
    FEATURE_DISABLED = strawberry.enum_value(
        "feature_disabled", description="The feature is switched off for everybody."
    )
    PLAN_NOT_ACTIVE = strawberry.enum_value(
        "plan_not_active", description="The organization has no plan, or not any more."
    )
    NOT_IN_PLAN = strawberry.enum_value(
        "not_in_plan", description="The plan does not have the feature: another one may."
    )
    PLAN_FEATURE_DISABLED = strawberry.enum_value(
        "plan_feature_disabled", description="The plan has the feature, switched off."
    )
    QUALITY_NOT_ALLOWED = strawberry.enum_value(
        "quality_not_allowed", description="The plan does not open that quality level."
    )
    MODEL_NOT_ALLOWED = strawberry.enum_value(
        "model_not_allowed", description="The plan does not open that model, or it is gone."
    )
    RATE_LIMITED = strawberry.enum_value(
        "rate_limited", description="As many calls as the plan allows have begun: wait."
    )
    CUSTOMER_LIMIT_EXCEEDED = strawberry.enum_value(
        "customer_limit_exceeded", description="The end customer has had as many as one may."
    )
    INSUFFICIENT_CREDITS = strawberry.enum_value(
        "insufficient_credits", description="There are not enough credits: top up, or wait."
    )


@strawberry.enum(description="What a limit counts.")
class UsageLimitName(Enum):
    """Limits."""

    REQUESTS_PER_MINUTE = strawberry.enum_value(
        "requests_per_minute", description="Calls of all features in a minute."
    )
    PER_MINUTE = strawberry.enum_value("per_minute", description="Of the feature in a minute.")
    PER_HOUR = strawberry.enum_value("per_hour", description="Of the feature in an hour.")
    PER_DAY = strawberry.enum_value("per_day", description="Of the feature in 24 hours.")
    PER_CUSTOMER_DAY = strawberry.enum_value(
        "per_customer_day", description="Of one end customer, for one thing, in 24 hours."
    )


@strawberry.enum(description="How far a call of a model has come.")
class CallState(Enum):
    """States."""

    OPEN = strawberry.enum_value("open", description="Credits are reserved; it is under way.")
    ANSWERED = strawberry.enum_value(
        "answered", description="It has been answered, and the charge is still to come."
    )
    SETTLED = strawberry.enum_value("settled", description="It is charged.")
    RELEASED = strawberry.enum_value("released", description="Nothing was charged.")


@strawberry.enum(description="How a call of a model ended.")
class CallOutcome(Enum):
    """Outcomes."""

    COMPLETE = strawberry.enum_value("complete", description="It was answered to its end.")
    LENGTH = strawberry.enum_value("length", description="It came to the length it may have.")
    CREDITS = strawberry.enum_value("credits", description="The stream ended where credits did.")
    LEFT = strawberry.enum_value("left", description="Who asked left before the end.")
    FAILED = strawberry.enum_value(
        "failed", description="Nobody answered, or the provider broke off in the middle."
    )
    ABANDONED = strawberry.enum_value(
        "abandoned", description="The process that served it was gone."
    )
