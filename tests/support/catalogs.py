"""A small catalog that is the same in every test, and refusals of its edits proven whole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from app.catalog import Catalog
from app.catalog.edits import (
    FeatureTerms,
    ModelTerms,
    PlanFeatureTerms,
    PlanLevelTerms,
    PlanTerms,
    PriceTerms,
    QualityTerms,
)
from db.driver import Connection
from tests.support.accounts import CREDIT
from tests.support.refusals import refused_whole

FEATURE = FeatureTerms("summary", "ai", "Summary", base_estimate=CREDIT)
LEVEL = QualityTerms("fast", "Fast", 0, 10_000)
MODEL = ModelTerms("small", "openai", "small-1", "Small", "fast", ["text"], 1_000, 100)
OTHER = MODEL._replace(key="other")
PRICE = PriceTerms(1_000, 100, 4_000, "a list")
PLAN = PlanTerms("basic", "recurring", "Basic", 0, 10 * CREDIT)
OPENED = [PlanFeatureTerms("summary", per_minute=3)]
LEVELS = [PlanLevelTerms("summary", "fast", ["small", "other"])]
TABLES = (
    "settings",
    "features",
    "quality_levels",
    "models",
    "model_prices",
    "plans",
    "plan_versions",
    "plan_features",
    "plan_quality_levels",
    "plan_models",
    "changes",
)


async def make_catalog(catalog: Catalog, project_id: UUID) -> None:
    """Make it: one plan that opens one feature at one level to two models."""
    await catalog.upsert_feature(project_id, FEATURE)
    await catalog.upsert_quality_level(project_id, LEVEL)
    await catalog.upsert_model(project_id, MODEL, PRICE)
    await catalog.upsert_model(project_id, OTHER)
    await catalog.upsert_plan(project_id, PLAN, OPENED, LEVELS)


async def stands(admin: Connection) -> dict[str, list[str]]:
    """Return every row of every catalog."""
    return {
        table: [
            row["written"]
            for row in await admin.fetch(
                f"select t::text as written from catalog.{table} as t order by 1"  # noqa: S608
            )
        ]
        for table in TABLES
    }


@asynccontextmanager
async def refused(admin: Connection, code: str, facts: dict[str, Any]) -> AsyncIterator[None]:
    """Prove the three things of a refusal: its code, its facts, and that nothing moved."""
    async with refused_whole(lambda: stands(admin), code, facts):
        yield
