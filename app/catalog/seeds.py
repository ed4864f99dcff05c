"""The catalog that a project begins with, from the data files in `db/seeds`."""

import tomllib
from collections.abc import Container
from pathlib import Path
from typing import Any
from uuid import UUID

import db
from app.catalog.catalog import Catalog
from app.catalog.edits import (
    FeatureTerms,
    ModelTerms,
    PlanFeatureTerms,
    PlanLevelTerms,
    PlanTerms,
    QualityTerms,
)
from app.catalog.prices import PriceList

_FOLDER = Path(db.__file__).parent / "seeds"


async def seed_catalog(catalog: Catalog, project_id: UUID) -> None:
    """Make what is not there yet: what was edited since stays as it is.

    Where all is there, as at every start but the first, it is one look. (`keep`, because two
    may do it at once.)
    """
    there = await catalog.read(project_id)
    for feature in _missing("features", there.feature_by_key):
        await catalog.upsert_feature(project_id, FeatureTerms(**feature), keep=True)
    for level in _missing("quality_levels", there.quality_by_key):
        await catalog.upsert_quality_level(project_id, QualityTerms(**level), keep=True)
    if models := _missing("models", there.model_by_key):
        prices = PriceList.bundled()
        for model in models:
            name = model.pop("price", None)
            price = None if name is None else prices.price(name)
            await catalog.upsert_model(project_id, ModelTerms(**model), price, keep=True)
    models_at = _seeds("plans")["levels"]
    for plan in _missing("plans", there.plan_by_key):
        features, levels = _contents(plan.pop("features", {}), models_at)
        terms = PlanTerms(includes_plan_key=plan.pop("includes", None), **plan)
        await catalog.upsert_plan(project_id, terms, features, levels, keep=True)
    if there.default_plan_key is None:
        await catalog.set_default_plan(project_id, _seeds("plans")["default_plan"], keep=True)


def _missing(noun: str, there: Container[str]) -> list[dict[str, Any]]:
    return [each for each in _seeds(noun)[noun] if each["key"] not in there]


def _contents(
    features: dict[str, dict[str, Any]], models: dict[str, list[str]]
) -> tuple[list[PlanFeatureTerms], list[PlanLevelTerms]]:
    opened, levels = [], []
    for key, terms in features.items():
        levels += [
            PlanLevelTerms(key, quality, models[quality]) for quality in terms.pop("levels", ())
        ]
        opened.append(PlanFeatureTerms(key, **terms))
    return opened, levels


def _seeds(noun: str) -> dict[str, Any]:
    with (_FOLDER / f"{noun}.toml").open("rb") as file:
        return tomllib.load(file)
