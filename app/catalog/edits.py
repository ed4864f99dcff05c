"""What editors of the catalog send, in the order of the SQL types, and what they are answered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

# What a value was that was not there.
NEW = object()


class FeatureTerms(NamedTuple):
    """A feature as it is to be."""

    key: str
    kind: str
    name: str
    description: str | None = None
    category: str | None = None
    icon: str | None = None
    is_active: bool = True
    base_estimate: int | None = None


class QualityTerms(NamedTuple):
    """A quality level as it is to be."""

    key: str
    name: str
    rank: int
    multiplier_basis_points: int
    is_active: bool = True


class ModelTerms(NamedTuple):
    """A model as it is to be."""

    key: str
    provider: str
    provider_model_id: str
    name: str
    tier: str
    capabilities: list[str]
    context_length: int
    max_output_tokens: int
    credits_per_1k_tokens: int | None = None
    is_available: bool = True
    deprecated_at: datetime | None = None
    replacement_key: str | None = None
    rank: int = 0


class PriceTerms(NamedTuple):
    """What a model costs for a million tokens."""

    input_nanodollars: int
    cached_input_nanodollars: int
    output_nanodollars: int
    source: str


class PlanTerms(NamedTuple):
    """A plan as it is to be; what it opens stands beside it."""

    key: str
    kind: str
    name: str
    rank: int
    monthly_credits: int
    description: str | None = None
    welcome_credits: int = 0
    rollover_cap: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    credits_per_day: int | None = None
    includes_plan_key: str | None = None
    streams_stop: bool = True


class PlanFeatureTerms(NamedTuple):
    """A feature that a plan is to open."""

    feature_key: str
    is_enabled: bool = True
    any_model: bool = False
    limit_value: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    per_customer_day: int | None = None


class PlanLevelTerms(NamedTuple):
    """A quality level of a plan's feature, with its models in the order of trying."""

    feature_key: str
    quality_key: str
    model_keys: list[str]


@dataclass(frozen=True, slots=True)
class EditedFeature:
    """A feature as it is; `replayed` if it was so before."""

    key: str
    kind: str
    name: str
    description: str | None
    category: str | None
    icon: str | None
    is_active: bool
    base_estimate: int | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class EditedQualityLevel:
    """A quality level as it is; `replayed` if it was so before."""

    key: str
    name: str
    rank: int
    multiplier_basis_points: int
    is_active: bool
    replayed: bool


@dataclass(frozen=True, slots=True)
class EditedModel:
    """A model as it is; `replayed` if it and its price were so before."""

    key: str
    provider: str
    provider_model_id: str
    name: str
    tier: str
    capabilities: list[str]
    context_length: int
    max_output_tokens: int
    credits_per_1k_tokens: int | None
    is_available: bool
    deprecated_at: datetime | None
    replacement_key: str | None
    rank: int
    price_version: int | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class EditedPlan:
    """A plan as it is, and its version; `replayed` if it was so before."""

    key: str
    kind: str
    name: str
    description: str | None
    rank: int
    version: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class ArchivedPlan:
    """A plan that is sold no more, or is again; `replayed` if it was so before."""

    key: str
    kind: str
    name: str
    description: str | None
    rank: int
    version: int
    archived_at: datetime | None
    replayed: bool


@dataclass(frozen=True, slots=True)
class Change:
    """An edit, who made it, and the row before and after it."""

    catalog_version: int
    changed_at: datetime
    subject: str
    key: str | None
    actor_kind: str | None
    actor_id: str | None
    actor_label: str | None
    before: dict[str, Any] | None
    after: dict[str, Any]

    def fields(self) -> list[tuple[str, object, object]]:
        """Return each value that became another, by name: what it was or `NEW`, and is."""
        before = self.before or {}
        return [
            (name, before.get(name, NEW), value)
            for name, value in sorted(self.after.items())
            if name not in before or before[name] != value
        ]


@dataclass(frozen=True, slots=True)
class DefaultPlan:
    """The plan of those who chose none; `replayed` if it was so before."""

    default_plan_key: str | None
    replayed: bool
