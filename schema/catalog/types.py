"""Types of the catalog domain. Each carries the catalog it was read from, for what it names."""

from datetime import datetime
from typing import Any

import orjson
import strawberry
from strawberry.types import Info

from app.catalog import rows
from app.catalog.edits import NEW, Change
from app.identity.viewer import ViewerKind
from schema.catalog.enums import (
    CatalogSubject,
    FeatureKind,
    ModelCapability,
    ModelTier,
    PlanKind,
)
from schema.context import context_of
from schema.pages import Connection
from schema.scalars import Credits, Dollars, Version

_UNLIMITED = -1


@strawberry.type(description="What a plan can open.")
class Feature:
    """A feature."""

    key: str = strawberry.field(description="Its name in code, unique in the project.")
    kind: FeatureKind = strawberry.field(description="What it is; it stays so.")
    name: str = strawberry.field(description="What people call it.")
    description: str | None = strawberry.field(description="What it does.")
    category: str | None = strawberry.field(description="Under what it is shown.")
    icon: str | None = strawberry.field(description="A name or address of a picture.")
    is_active: bool = strawberry.field(description="False closes it, whatever plans say.")
    base_estimate: Credits | None = strawberry.field(
        description="What a call is taken to cost at a level of once; null: by its tokens."
    )

    @classmethod
    def of(cls, row: rows.Feature) -> "Feature":
        """Return the type of a row."""
        return cls(
            key=row.key,
            kind=FeatureKind(row.kind),
            name=row.name,
            description=row.description,
            category=row.category,
            icon=row.icon,
            is_active=row.is_active,
            base_estimate=None if row.base_estimate is None else Credits(row.base_estimate),
        )


@strawberry.type(description="How good an answer is to be, and what that multiplies.")
class QualityLevel:
    """A quality level."""

    key: str = strawberry.field(description="Its name in code, unique in the project.")
    name: str = strawberry.field(description="What people call it.")
    rank: int = strawberry.field(description="Its place among the levels, the plainest first.")
    multiplier_basis_points: int = strawberry.field(
        description="By how much it multiplies an estimate: 10,000 is once, 15,000 is 1.5 times."
    )
    is_active: bool = strawberry.field(description="False closes it, whatever plans say.")

    @classmethod
    def of(cls, row: rows.QualityLevel) -> "QualityLevel":
        """Return the type of a row."""
        return cls(
            key=row.key,
            name=row.name,
            rank=row.rank,
            multiplier_basis_points=row.multiplier_basis_points,
            is_active=row.is_active,
        )


@strawberry.type(description="What a provider takes for a million tokens.")
class ModelPrice:
    """A version of a model's price."""

    version: int = strawberry.field(
        description="Calls are charged by the version of their time; another price is the next."
    )
    input_per_million: Dollars = strawberry.field(description="Of what is read.")
    cached_input_per_million: Dollars = strawberry.field(
        description="Of what is read and was read before."
    )
    output_per_million: Dollars = strawberry.field(description="Of what is written.")


@strawberry.type(description="A model that may answer.")
class Model:
    """A model."""

    key: str = strawberry.field(description="By which it is asked for, unique in the project.")
    provider: str = strawberry.field(description="Who runs it.")
    provider_model_id: str = strawberry.field(description="What its provider calls it.")
    name: str = strawberry.field(description="What people call it.")
    tier: ModelTier = strawberry.field(description="What it is made for.")
    capabilities: list[ModelCapability] = strawberry.field(description="What it can do.")
    context_length: int = strawberry.field(description="Tokens it reads and writes at most.")
    max_output_tokens: int = strawberry.field(description="Tokens it writes at most.")
    credits_per_1k_tokens: Credits | None = strawberry.field(
        name="creditsPer1kTokens",
        description="Charged for a thousand tokens, instead of what its price comes to.",
    )
    is_available: bool = strawberry.field(description="False: it is not asked.")
    is_priced: bool = strawberry.field(
        description="Whether it can be charged for. If not, it is refused, never free."
    )
    deprecated_at: datetime | None = strawberry.field(
        description="From when on its replacement is asked instead, or nobody."
    )
    rank: int = strawberry.field(description="Its place in lists that people edit.")
    row: strawberry.Private[rows.Model]
    catalog: strawberry.Private[rows.CatalogSnapshot]

    @strawberry.field(description="Who is asked instead once it is deprecated.")
    def replacement(self) -> "Model | None":
        key = self.row.replacement_key
        return None if key is None else Model.of(self.catalog.model_by_key[key], self.catalog)

    @strawberry.field(
        description="What its provider takes; null if that is not known, and for the key of an"
        " organization."
    )
    def price(self, info: Info[Any, Any]) -> ModelPrice | None:
        row = self.row
        if (
            row.price_version is None
            or row.input_nanodollars is None
            or row.cached_input_nanodollars is None
            or row.output_nanodollars is None
            or context_of(info).viewer.kind is ViewerKind.ORGANIZATION_KEY
        ):
            return None
        return ModelPrice(
            version=row.price_version,
            input_per_million=Dollars(row.input_nanodollars),
            cached_input_per_million=Dollars(row.cached_input_nanodollars),
            output_per_million=Dollars(row.output_nanodollars),
        )

    @classmethod
    def of(cls, row: rows.Model, catalog: rows.CatalogSnapshot) -> "Model":
        """Return the type of a row."""
        credits = row.credits_per_1k_tokens
        return cls(
            key=row.key,
            provider=row.provider,
            provider_model_id=row.provider_model_id,
            name=row.name,
            tier=ModelTier(row.tier),
            capabilities=[ModelCapability(each) for each in row.capabilities],
            context_length=row.context_length,
            max_output_tokens=row.max_output_tokens,
            credits_per_1k_tokens=None if credits is None else Credits(credits),
            is_available=row.is_available,
            is_priced=row.is_priced,
            deprecated_at=row.deprecated_at,
            rank=row.rank,
            row=row,
            catalog=catalog,
        )


@strawberry.type(description="A quality level of a plan's feature.")
class PlanQualityLevel:
    """A level that a plan opens."""

    quality: QualityLevel = strawberry.field(description="The level.")
    row: strawberry.Private[rows.PlanLevel]
    catalog: strawberry.Private[rows.CatalogSnapshot]

    @strawberry.field(
        description="Who answers, in the order in which they are tried: the first unless another"
        " is asked for."
    )
    def models(self) -> list[Model]:
        return [Model.of(self.catalog.model_by_key[key], self.catalog) for key in self.row.models]


@strawberry.type(description="A feature as a plan has it. Of limits, null is none and 0 blocks.")
class PlanFeature:
    """What a plan says of a feature."""

    feature: Feature = strawberry.field(description="The feature.")
    is_enabled: bool = strawberry.field(description="False: the plan closes it.")
    any_model: bool = strawberry.field(
        description="Whether every model and level may answer; else those of `qualityLevels`."
    )
    limit: int | None = strawberry.field(description="So many, for a feature that is a limit.")
    per_minute: int | None = strawberry.field(description="Calls in a minute.")
    per_hour: int | None = strawberry.field(description="Calls in any hour.")
    per_day: int | None = strawberry.field(description="Calls in a day.")
    per_customer_day: int | None = strawberry.field(
        description="Calls in any 24 hours for one end customer and subject."
    )
    row: strawberry.Private[rows.PlanFeature]
    catalog: strawberry.Private[rows.CatalogSnapshot]

    @strawberry.field(description="At which levels it may answer, the plainest first.")
    def quality_levels(self) -> list[PlanQualityLevel]:
        return [
            PlanQualityLevel(
                quality=QualityLevel.of(self.catalog.quality_by_key[level.quality]),
                row=level,
                catalog=self.catalog,
            )
            for level in self.row.levels
        ]

    @classmethod
    def of(cls, row: rows.PlanFeature, catalog: rows.CatalogSnapshot) -> "PlanFeature":
        """Return the type of a row."""
        return cls(
            feature=Feature.of(catalog.feature_by_key[row.feature]),
            is_enabled=row.is_enabled,
            any_model=row.any_model,
            limit=row.limit_value,
            per_minute=row.per_minute,
            per_hour=row.per_hour,
            per_day=row.per_day,
            per_customer_day=row.per_customer_day,
            row=row,
            catalog=catalog,
        )


@strawberry.type(description="What is sold under a name, as it is sold now.")
class Plan:
    """A plan in its current version."""

    key: str = strawberry.field(description="Its name in code, unique in the project.")
    kind: PlanKind = strawberry.field(description="How it is sold; it stays so.")
    name: str = strawberry.field(description="What people call it.")
    description: str | None = strawberry.field(description="What it is for.")
    rank: int = strawberry.field(description="Its place among the plans, the smallest first.")
    version: int = strawberry.field(
        description="Never changed: other contents are the next one. Who has an older keeps it."
    )
    archived_at: datetime | None = strawberry.field(
        description="Since when it is sold no more; null: it is sold."
    )
    is_default: bool = strawberry.field(description="Whether those have it who chose none.")
    monthly_credits: Credits | None = strawberry.field(
        description="Granted each month; null: unlimited."
    )
    welcome_credits: Credits = strawberry.field(description="Granted once, at the beginning.")
    rollover_cap: Credits = strawberry.field(
        description="How much of a month's rest moves to the next."
    )
    requests_per_minute: int | None = strawberry.field(description="Requests; null: no limit.")
    tokens_per_minute: int | None = strawberry.field(description="Tokens; null: no limit.")
    credits_per_day: Credits | None = strawberry.field(
        description="Credits that may be spent; null: no limit."
    )
    includes_plan_key: str | None = strawberry.field(
        description="Whose features it has too, where it says nothing else of them."
    )
    streams_stop: bool = strawberry.field(
        description="Whether a stream ends where the credits do; else it runs on into debt."
    )
    row: strawberry.Private[rows.Plan]
    catalog: strawberry.Private[rows.CatalogSnapshot]

    @strawberry.field(description="What it opens, with what it includes, by key.")
    def features(self) -> list[PlanFeature]:
        return [PlanFeature.of(each, self.catalog) for each in self.row.features]

    @classmethod
    def of(cls, row: rows.Plan, catalog: rows.CatalogSnapshot) -> "Plan":
        """Return the type of a row."""
        unlimited = row.monthly_credits == _UNLIMITED
        return cls(
            key=row.key,
            kind=PlanKind(row.kind),
            name=row.name,
            description=row.description,
            rank=row.rank,
            version=row.version,
            archived_at=row.archived_at,
            is_default=row.key == catalog.default_plan_key,
            monthly_credits=None if unlimited else Credits(row.monthly_credits),
            welcome_credits=Credits(row.welcome_credits),
            rollover_cap=Credits(row.rollover_cap),
            requests_per_minute=row.requests_per_minute,
            tokens_per_minute=row.tokens_per_minute,
            credits_per_day=None if row.credits_per_day is None else Credits(row.credits_per_day),
            includes_plan_key=row.includes_plan_key,
            streams_stop=row.streams_stop,
            row=row,
            catalog=catalog,
        )


@strawberry.type(description="A value that became another.")
class FieldChange:
    """One column of an edit."""

    field: str = strawberry.field(description="Which value, by the name of its column.")
    before: str | None = strawberry.field(description="What it was, as JSON; null where it is new.")
    after: str = strawberry.field(description="What it is, as JSON.")


@strawberry.type(description="An edit of the catalog.")
class CatalogChange:
    """Who edited what."""

    version: Version = strawberry.field(description="Of the whole catalog, from this edit on.")
    changed_at: datetime = strawberry.field(description="When.")
    subject: CatalogSubject = strawberry.field(description="What was edited.")
    key: str | None = strawberry.field(description="Which of them.")
    actor_kind: str | None = strawberry.field(
        description="Who edited it: `admin`, `project_key`; null: the installation itself."
    )
    actor_id: str | None = strawberry.field(description="By which id.")
    actor_label: str | None = strawberry.field(description="As it was called then.")
    fields: list[FieldChange] = strawberry.field(
        description="What became another; all of it where the subject is new. Of what is in a"
        " plan it tells the version."
    )

    @classmethod
    def of(cls, row: Change) -> "CatalogChange":
        """Return the type of a row."""
        return cls(
            version=Version(row.catalog_version),
            changed_at=row.changed_at,
            subject=CatalogSubject(row.subject),
            key=row.key,
            actor_kind=row.actor_kind,
            actor_id=row.actor_id,
            actor_label=row.actor_label,
            fields=[
                FieldChange(field=field, before=_json(before), after=orjson.dumps(after).decode())
                for field, before, after in row.fields()
            ],
        )


@strawberry.type(description="A page of edits, the newest first.")
class CatalogChangeConnection(Connection[CatalogChange]):
    """Edits."""


def _json(value: object) -> str | None:
    return None if value is NEW else orjson.dumps(value).decode()
