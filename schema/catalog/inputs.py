"""Inputs of the catalog. Upserts say what a thing is to be: what is left out is not as it was."""

from datetime import datetime

import strawberry

from schema.catalog.enums import FeatureKind, ModelCapability, ModelTier, PlanKind
from schema.scalars import Credits, Dollars

_PROJECT = "The project; that of the key if left out."


@strawberry.input(description="Which models.")
class ModelFilterInput:
    """Argument of `models`."""

    is_available: bool | None = strawberry.field(
        default=None, description="Those that are, or are not, available."
    )
    provider: str | None = strawberry.field(default=None, description="Who runs them.")
    tier: ModelTier | None = strawberry.field(default=None, description="What they are made for.")
    capabilities: list[ModelCapability] | None = strawberry.field(
        default=None, description="Those that can do any of it."
    )
    plan: str | None = strawberry.field(default=None, description="Those that a plan opens.")
    feature: str | None = strawberry.field(
        default=None, description="Those that are opened for a feature."
    )
    quality: str | None = strawberry.field(
        default=None, description="Those that the plan opens at a quality level."
    )


@strawberry.input(description="A feature as it is to be.")
class UpsertFeatureInput:
    """Input of `upsertFeature`."""

    key: str = strawberry.field(
        description="1 to 63 lowercase letters, digits and underscores, a letter first."
    )
    kind: FeatureKind = strawberry.field(description="What it is; it cannot change.")
    name: str = strawberry.field(description="1 to 200 characters.")
    description: str | None = strawberry.field(default=None, description="What it does.")
    category: str | None = strawberry.field(default=None, description="Under what it is shown.")
    icon: str | None = strawberry.field(default=None, description="A name or an address.")
    is_active: bool = strawberry.field(
        default=True, description="False closes it, whatever plans say."
    )
    base_estimate: Credits | None = strawberry.field(
        default=None, description="What a call is taken to cost at a level of once."
    )
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)


@strawberry.input(description="A quality level as it is to be.")
class UpsertQualityLevelInput:
    """Input of `upsertQualityLevel`."""

    key: str = strawberry.field(
        description="1 to 63 lowercase letters, digits and underscores, a letter first."
    )
    name: str = strawberry.field(description="1 to 200 characters.")
    rank: int = strawberry.field(description="Its place among the levels, the plainest first.")
    multiplier_basis_points: int = strawberry.field(
        description="10,000 is once; above 0, at most 10,000,000."
    )
    is_active: bool = strawberry.field(
        default=True, description="False closes it, whatever plans say."
    )
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)


@strawberry.input(description="What a provider takes for a million tokens.")
class ModelPriceInput:
    """A price."""

    input_per_million: Dollars = strawberry.field(description="Of what is read.")
    output_per_million: Dollars = strawberry.field(description="Of what is written.")
    cached_input_per_million: Dollars | None = strawberry.field(
        default=None, description="Of what was read before; as of any input if left out."
    )
    source: str = strawberry.field(default="editor", description="Where it was read.")


@strawberry.input(description="A model as it is to be. Its price stays unless one is given.")
class UpsertModelInput:
    """Input of `upsertModel`."""

    key: str = strawberry.field(
        description="1 to 127 lowercase letters, digits and `_ . : / -`, the first no sign."
    )
    provider: str = strawberry.field(description="Who runs it.")
    provider_model_id: str = strawberry.field(description="What its provider calls it.")
    name: str = strawberry.field(description="1 to 200 characters.")
    tier: ModelTier = strawberry.field(description="What it is made for.")
    context_length: int = strawberry.field(description="Tokens it reads and writes at most.")
    max_output_tokens: int = strawberry.field(description="Tokens it writes at most.")
    capabilities: list[ModelCapability] = strawberry.field(
        default_factory=list, description="What it can do."
    )
    credits_per_1k_tokens: Credits | None = strawberry.field(
        default=None,
        name="creditsPer1kTokens",
        description="Charged for a thousand tokens, instead of what its price comes to.",
    )
    is_available: bool = strawberry.field(default=True, description="False: it is not asked.")
    deprecated_at: datetime | None = strawberry.field(
        default=None, description="From when on its replacement is asked instead, or nobody."
    )
    replacement_key: str | None = strawberry.field(
        default=None, description="Who is asked instead."
    )
    rank: int = strawberry.field(default=0, description="Its place in lists that people edit.")
    price: ModelPriceInput | None = strawberry.field(
        default=None, description="Another price is the next version of it."
    )
    price_list_entry: str | None = strawberry.field(
        default=None,
        description="Instead of `price`: the name of the model in the price list that comes with"
        " litellm, such as `gpt-4o-mini`.",
    )
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)


@strawberry.input(description="A quality level that a plan's feature opens.")
class PlanQualityLevelInput:
    """A level of a plan."""

    quality: str = strawberry.field(description="The level, by key.")
    models: list[str] = strawberry.field(
        description="1 to 50 models by key, in the order in which they are tried."
    )


@strawberry.input(description="A feature of a plan. Of limits, null is none and 0 blocks.")
class PlanFeatureInput:
    """A feature of a plan."""

    feature: str = strawberry.field(description="The feature, by key.")
    is_enabled: bool = strawberry.field(default=True, description="False: the plan closes it.")
    any_model: bool = strawberry.field(
        default=False, description="Every model and level may answer; then there are no levels."
    )
    limit: int | None = strawberry.field(
        default=None, description="So many, for a feature that is a limit."
    )
    per_minute: int | None = strawberry.field(default=None, description="Calls in a minute.")
    per_hour: int | None = strawberry.field(default=None, description="Calls in any hour.")
    per_day: int | None = strawberry.field(default=None, description="Calls in a day.")
    per_customer_day: int | None = strawberry.field(
        default=None, description="Calls in any 24 hours for one end customer and subject."
    )
    quality_levels: list[PlanQualityLevelInput] = strawberry.field(
        default_factory=list, description="At which levels it may answer."
    )


@strawberry.input(
    description="A plan as it is to be. Other contents than it has are its next version."
)
class UpsertPlanInput:
    """Input of `upsertPlan`."""

    key: str = strawberry.field(
        description="1 to 63 lowercase letters, digits and underscores, a letter first."
    )
    kind: PlanKind = strawberry.field(description="How it is sold; it cannot change.")
    name: str = strawberry.field(description="1 to 200 characters.")
    rank: int = strawberry.field(description="Its place among the plans, the smallest first.")
    description: str | None = strawberry.field(default=None, description="What it is for.")
    monthly_credits: Credits = strawberry.field(
        default=Credits(0), description="Granted each month."
    )
    unlimited: bool = strawberry.field(
        default=False, description="Makes the month's credits unlimited, instead of a number."
    )
    welcome_credits: Credits = strawberry.field(
        default=Credits(0), description="Granted once, at the beginning."
    )
    rollover_cap: Credits = strawberry.field(
        default=Credits(0), description="How much of a month's rest moves to the next."
    )
    requests_per_minute: int | None = strawberry.field(
        default=None, description="Requests; null is no limit."
    )
    tokens_per_minute: int | None = strawberry.field(
        default=None, description="Tokens; null is no limit."
    )
    credits_per_day: Credits | None = strawberry.field(
        default=None, description="Credits that may be spent; null is no limit."
    )
    includes_plan_key: str | None = strawberry.field(
        default=None, description="Whose features it has too, where it says nothing else of them."
    )
    streams_stop: bool = strawberry.field(
        default=True,
        description="Whether a stream ends, in order, where the credits do; else it runs on, and"
        " what it costs beyond them is owed.",
    )
    features: list[PlanFeatureInput] = strawberry.field(
        default_factory=list, description="What it opens: at most 200."
    )
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)


@strawberry.input(description="Sell a plan no more, or again.")
class ArchivePlanInput:
    """Input of `archivePlan`."""

    key: str = strawberry.field(description="The plan.")
    archived: bool = strawberry.field(default=True, description="False: sell it again.")
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)


@strawberry.input(description="Say which plan those have who chose none.")
class SetDefaultPlanInput:
    """Input of `setDefaultPlan`."""

    key: str | None = strawberry.field(
        default=None, description="The plan; none if left out: then what needs one is closed."
    )
    project_id: strawberry.ID | None = strawberry.field(default=None, description=_PROJECT)
