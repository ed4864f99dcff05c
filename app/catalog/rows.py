"""What the catalog consists of, as it stands at one moment."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Feature:
    """What a plan can open. Amounts are micro-credits; no estimate: by tokens."""

    key: str
    kind: str
    name: str
    description: str | None
    category: str | None
    icon: str | None
    is_active: bool
    base_estimate: int | None


@dataclass(frozen=True, slots=True)
class QualityLevel:
    """How good an answer is to be: 10,000 basis points are once the base estimate."""

    key: str
    name: str
    rank: int
    multiplier_basis_points: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may answer, and its latest price for a million tokens."""

    key: str
    provider: str
    provider_model_id: str
    name: str
    tier: str
    capabilities: tuple[str, ...]
    context_length: int
    max_output_tokens: int
    credits_per_1k_tokens: int | None
    is_available: bool
    deprecated_at: datetime | None
    replacement_key: str | None
    rank: int
    price_version: int | None
    input_nanodollars: int | None
    cached_input_nanodollars: int | None
    output_nanodollars: int | None

    @property
    def is_priced(self) -> bool:
        """Whether it can be charged for; else it is refused, never free."""
        return self.credits_per_1k_tokens is not None or self.price_version is not None


@dataclass(frozen=True, slots=True)
class PlanLevel:
    """A quality level of a plan's feature; its models in the order in which they are tried."""

    quality: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanFeature:
    """A feature that a plan opens, and how often: None is no limit, 0 blocks."""

    feature: str
    is_enabled: bool
    any_model: bool
    limit_value: int | None
    per_minute: int | None
    per_hour: int | None
    per_day: int | None
    per_customer_day: int | None
    levels: tuple[PlanLevel, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as it is sold now, with what it includes of another. -1 credits: unlimited."""

    key: str
    kind: str
    name: str
    description: str | None
    rank: int
    version: int
    archived_at: datetime | None
    monthly_credits: int
    welcome_credits: int
    rollover_cap: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    credits_per_day: int | None
    includes_plan_key: str | None
    streams_stop: bool
    features: tuple[PlanFeature, ...]


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """A catalog as Postgres answers it."""

    catalog_version: int
    default_plan_key: str | None
    features: list[dict[str, Any]]
    quality_levels: list[dict[str, Any]]
    models: list[dict[str, Any]]
    plans: list[dict[str, Any]]


@dataclass(frozen=True)
class CatalogSnapshot:
    """The whole catalog of a project as of one version of it."""

    version: int
    default_plan_key: str | None
    features: tuple[Feature, ...]
    quality_levels: tuple[QualityLevel, ...]
    models: tuple[Model, ...]
    plans: tuple[Plan, ...]

    @classmethod
    def of(cls, row: CatalogRow) -> "CatalogSnapshot":
        """Return what a row tells."""
        return cls(
            row.catalog_version,
            row.default_plan_key,
            tuple(Feature(**each) for each in row.features),
            tuple(QualityLevel(**each) for each in row.quality_levels),
            tuple(_model(each) for each in row.models),
            tuple(_plan(each) for each in row.plans),
        )

    @cached_property
    def feature_by_key(self) -> dict[str, Feature]:
        """Features by their keys."""
        return {each.key: each for each in self.features}

    @cached_property
    def quality_by_key(self) -> dict[str, QualityLevel]:
        """Quality levels by their keys."""
        return {each.key: each for each in self.quality_levels}

    @cached_property
    def model_by_key(self) -> dict[str, Model]:
        """Models by their keys."""
        return {each.key: each for each in self.models}

    @cached_property
    def plan_by_key(self) -> dict[str, Plan]:
        """Plans by their keys."""
        return {each.key: each for each in self.plans}


def _instant(written: str | None) -> datetime | None:
    return None if written is None else datetime.fromisoformat(written)


def _model(row: dict[str, Any]) -> Model:
    return Model(
        **{
            **row,
            "capabilities": tuple(row["capabilities"]),
            "deprecated_at": _instant(row["deprecated_at"]),
        }
    )


def _plan(row: dict[str, Any]) -> Plan:
    return Plan(
        **{
            **row,
            "archived_at": _instant(row["archived_at"]),
            "features": tuple(_plan_feature(each) for each in row["features"]),
        }
    )


def _plan_feature(row: dict[str, Any]) -> PlanFeature:
    levels = (PlanLevel(each["quality"], tuple(each["models"])) for each in row["levels"])
    return PlanFeature(**{**row, "levels": tuple(levels)})
