"""The catalog that a project begins with, from the data files in `db/seeds`."""

import tomllib
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
    """Make what is not there yet: what was edited since stays as it is."""
    for feature in _seeds("features")["features"]:
        await catalog.upsert_feature(project_id, FeatureTerms(**feature), keep=True)
    for level in _seeds("quality_levels")["quality_levels"]:
        await catalog.upsert_quality_level(project_id, QualityTerms(**level), keep=True)
    prices = PriceList.bundled()
    for model in _seeds("models")["models"]:
        name = model.pop("price", None)
        price = None if name is None else prices.price(name)
        await catalog.upsert_model(project_id, ModelTerms(**model), price, keep=True)
    data = _seeds("plans")
    for plan in data["plans"]:
        features, levels = _contents(plan.pop("features", {}), data["levels"])
        terms_of_plan = PlanTerms(includes_plan_key=plan.pop("includes", None), **plan)
        await catalog.upsert_plan(project_id, terms_of_plan, features, levels, keep=True)
    await catalog.set_default_plan(project_id, data["default_plan"], keep=True)


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
