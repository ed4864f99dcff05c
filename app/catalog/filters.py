"""Which models somebody looks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.catalog.rows import CatalogSnapshot, Model, Plan
from app.core.refusals import Refusal


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """What is asked of a model; None asks nothing.

    With a plan: those that it opens for any of its features and levels, or for the ones named.
    """

    is_available: bool | None = None
    provider: str | None = None
    tier: str | None = None
    capabilities: Sequence[str] | None = None
    plan: str | None = None
    feature: str | None = None
    quality: str | None = None


def models_of(catalog: CatalogSnapshot, asked: ModelFilter) -> list[Model]:
    """Return the models asked for, those that are available first, by name.

    Refuses NOT_FOUND for a plan, feature or level that is not there.
    """
    opened = _opened(catalog, asked)
    found = (
        model
        for model in catalog.models
        if (asked.is_available is None or model.is_available == asked.is_available)
        and asked.provider in (None, model.provider)
        and asked.tier in (None, model.tier)
        and (asked.capabilities is None or {*asked.capabilities} & {*model.capabilities})
        and (opened is None or model.key in opened)
    )
    return sorted(found, key=lambda model: (not model.is_available, model.name, model.key))


def _opened(catalog: CatalogSnapshot, asked: ModelFilter) -> set[str] | None:
    if asked.feature is not None and asked.feature not in catalog.feature_by_key:
        raise Refusal("NOT_FOUND", {"kind": "feature", "id": asked.feature})
    if asked.quality is not None and asked.quality not in catalog.quality_by_key:
        raise Refusal("NOT_FOUND", {"kind": "quality_level", "id": asked.quality})
    if asked.plan is None:
        if asked.feature is None:
            return None
        return {key for plan in catalog.plans for key in _of_plan(catalog, plan, asked)}
    plan = catalog.plan_by_key.get(asked.plan)
    if plan is None:
        raise Refusal("NOT_FOUND", {"kind": "plan", "id": asked.plan})
    return _of_plan(catalog, plan, asked)


def _of_plan(catalog: CatalogSnapshot, plan: Plan, asked: ModelFilter) -> set[str]:
    opened: set[str] = set()
    for feature in plan.features:
        if not feature.is_enabled or asked.feature not in (None, feature.feature):
            continue
        if feature.any_model:
            # What cannot be charged for is open to nobody.
            opened |= {model.key for model in catalog.models if model.is_priced}
        for level in feature.levels:
            if asked.quality in (None, level.quality):
                opened.update(level.models)
    return opened
