"""Enumerations of the credits domain; their values are Postgres' own words."""

from enum import Enum

import strawberry


@strawberry.enum(description="Where a reservation stands.")
class ReservationStatus(Enum):
    """The life of a reservation."""

    PENDING = strawberry.enum_value("pending", description="Credits are set aside.")
    SETTLED = strawberry.enum_value("settled", description="Charged; at an end.")
    RELEASED = strawberry.enum_value("released", description="Given back; at an end.")
    EXPIRED = strawberry.enum_value(
        "expired", description="Its time passed and the credits returned; a settle still charges."
    )


@strawberry.enum(description="Where a grant stands.")
class GrantState(Enum):
    """The life of a grant."""

    SCHEDULED = strawberry.enum_value("scheduled", description="Not yet effective.")
    LIVE = strawberry.enum_value("live", description="Can be spent.")
    LAPSED = strawberry.enum_value(
        "lapsed", description="Expired, but for what reservations opened before still hold."
    )
    CLOSED = strawberry.enum_value("closed", description="Nothing is left of it.")


@strawberry.enum(description="Where a grant comes from.")
class GrantSource(Enum):
    """Sources of credits."""

    PLAN_ALLOCATION = strawberry.enum_value("plan_allocation", description="The month's.")
    PLAN_CHANGE = strawberry.enum_value("plan_change", description="A new allowance's rest.")
    ROLLOVER = strawberry.enum_value("rollover", description="Left from the month before.")
    TOP_UP = strawberry.enum_value("top_up", description="Bought.")
    PROMOTIONAL = strawberry.enum_value("promotional", description="Given, also for welcome.")
    REFERRAL = strawberry.enum_value("referral", description="For bringing somebody.")
    ADMIN_ADJUSTMENT = strawberry.enum_value("admin_adjustment", description="By hand.")
    REFUND = strawberry.enum_value("refund", description="Given back for a charge.")
    REVERSAL = strawberry.enum_value("reversal", description="Pays debt that was forgiven.")


@strawberry.enum(description="Whether credits were paid for.")
class GrantCategory(Enum):
    """Categories of credits."""

    PAID = strawberry.enum_value("paid", description="Paid for.")
    PROMOTIONAL = strawberry.enum_value("promotional", description="Given.")


@strawberry.enum(description="What a ledger row records.")
class TransactionType(Enum):
    """Types of ledger rows."""

    PLAN_ALLOCATION = strawberry.enum_value("plan_allocation", description="The month's grant.")
    TOP_UP = strawberry.enum_value("top_up", description="Credits bought.")
    PROMOTIONAL = strawberry.enum_value("promotional", description="Credits given.")
    REFERRAL = strawberry.enum_value("referral", description="Credits for a referral.")
    ADMIN_ADJUSTMENT = strawberry.enum_value("admin_adjustment", description="By hand, ±.")
    PLAN_CHANGE = strawberry.enum_value("plan_change", description="A new allowance, ±.")
    ROLLOVER = strawberry.enum_value("rollover", description="Left from the month before.")
    CONSUMPTION = strawberry.enum_value("consumption", description="Credits spent.")
    EXPIRATION = strawberry.enum_value("expiration", description="Credits that expired.")
    VOID = strawberry.enum_value("void", description="A grant taken back.")
    REFUND = strawberry.enum_value("refund", description="A charge given back.")
    REVERSAL = strawberry.enum_value("reversal", description="Debt forgiven.")


@strawberry.enum(description="When a new allowance takes effect.")
class TakesEffect(Enum):
    """Times for a change of allowance."""

    NOW = strawberry.enum_value("now", description="The difference at once.")
    PERIOD_END = strawberry.enum_value("period_end", description="When the period rolls.")
