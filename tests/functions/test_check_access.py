"""inference.check_access: may it be called, and what would help."""

from datetime import timedelta
from typing import Any

import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms, QualityTerms
from app.core.refusals import Refusal
from app.inference import Access
from tests.support.accounts import CREDIT
from tests.support.catalogs import FEATURE, LEVEL, PLAN
from tests.support.model_calls import NOW, Calling


async def look(calling: Calling, feature: str = "summary", **asked: Any) -> Access:
    """Ask, and prove that asking moves nothing."""
    before = await calling.stands()
    access = await calling.calls.check_access(calling.account, feature, **asked)
    assert await calling.stands() == before
    return access


async def test_what_is_open_is_told(calling: Calling) -> None:
    await calling.catalog.upsert_quality_level(
        calling.project, QualityTerms("best", "Best", 2, 30_000)
    )
    await calling.sell(
        PlanFeatureTerms("summary", per_hour=5),
        [
            PlanLevelTerms("summary", "fast", ["small", "other"]),
            PlanLevelTerms("summary", "best", ["other"]),
        ],
    )
    access = await look(calling)
    assert (access.is_allowed, access.reason) == (True, None)
    assert (access.plan_key, access.plan_version) == ("basic", 2)
    assert (access.quality, access.model) == ("fast", "small")
    assert access.levels == [
        {"quality": "fast", "name": "Fast", "models": ["small", "other"]},
        {"quality": "best", "name": "Best", "models": ["other"]},
    ]
    assert (access.estimate, access.shortfall) == (CREDIT, 0)
    assert access.spendable == 100_000 * CREDIT
    assert access.opening_plans == []
    # A level multiplies the estimate once.
    assert (await look(calling, quality="best")).estimate == 3 * CREDIT


async def test_limits_are_told_with_what_is_used_of_them(calling: Calling) -> None:
    await calling.catalog.upsert_plan(
        calling.project,
        PLAN._replace(requests_per_minute=9),
        [PlanFeatureTerms("summary", any_model=True, per_hour=2, per_customer_day=1)],
        [],
    )
    await calling.open("a", end_customer_ref="eve", output_tokens=1)
    await calling.later(minutes=30)
    access = await look(calling)
    assert access.limits == [
        {
            "name": "requests_per_minute",
            "most": 9,
            "used": 0,
            "left": 9,
            "window_seconds": 60,
            "resets_at": None,
        },
        {
            "name": "per_hour",
            "most": 2,
            "used": 1,
            "left": 1,
            "window_seconds": 3_600,
            "resets_at": None,
        },
    ]
    # A limit that is reached says when the next call may begin.
    access = await look(calling, end_customer_ref="eve")
    assert (access.is_allowed, access.reason) == (False, "customer_limit_exceeded")
    assert access.limits[-1] == {
        "name": "per_customer_day",
        "most": 1,
        "used": 1,
        "left": 0,
        "window_seconds": 86_400,
        "resets_at": (NOW + timedelta(days=1)).isoformat(),
    }
    await calling.open("b", output_tokens=1)
    access = await look(calling)
    assert (access.reason, access.limits[1]["left"]) == ("rate_limited", 0)
    assert access.limits[1]["resets_at"] == (NOW + timedelta(hours=1)).isoformat()


async def test_what_is_short_is_told(calling: Calling) -> None:
    await calling.catalog.upsert_feature(
        calling.project, FEATURE._replace(base_estimate=7 * CREDIT)
    )
    calling.account = await calling.accounts.open(5, project_id=calling.project)
    access = await look(calling)
    assert (access.is_allowed, access.reason) == (False, "insufficient_credits")
    assert (access.estimate, access.spendable, access.shortfall) == (
        7 * CREDIT,
        5 * CREDIT,
        2 * CREDIT,
    )
    # Of an estimate of nothing at least the least that is charged.
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(base_estimate=None))
    assert (await look(calling)).estimate == 250_000


async def test_plans_that_would_open_it_are_told(calling: Calling) -> None:
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="poetry"))
    opened = [PlanFeatureTerms("poetry")]
    levels = [PlanLevelTerms("poetry", "fast", ["small"])]
    for key, rank in (("lower", -1), ("higher", 5), ("high", 3), ("gone", 4)):
        await calling.catalog.upsert_plan(
            calling.project, PLAN._replace(key=key, rank=rank), opened, levels
        )
    await calling.catalog.upsert_plan(
        calling.project, PLAN._replace(key="pack", kind="one_time", rank=9), opened, levels
    )
    await calling.catalog.archive_plan(calling.project, "gone")
    access = await look(calling, "poetry")
    assert (access.reason, access.opening_plans) == ("not_in_plan", ["high", "higher"])
    assert (access.estimate, access.levels, access.limits) == (None, [], [])
    # Nobody sells that.
    access = await look(calling, "poetry", model="other")
    assert access.opening_plans == []


@pytest.mark.parametrize(
    ("reason", "feature", "asked"),
    [
        ("feature_not_found", "poetry", {}),
        ("quality_not_allowed", "summary", {"quality": "best"}),
        ("model_not_allowed", "summary", {"model": "third"}),
    ],
)
async def test_the_first_reason_is_told(
    calling: Calling, reason: str, feature: str, asked: dict[str, str]
) -> None:
    access = await look(calling, feature, **asked)
    assert (access.is_allowed, access.reason) == (False, reason)


async def test_reasons_come_in_their_order(calling: Calling) -> None:
    calling.account = await calling.accounts.open(0, project_id=calling.project)
    await calling.catalog.set_default_plan(calling.project, None)
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(is_active=False))
    asked = {"quality": "fast", "model": "third"}

    async def reason() -> str | None:
        return (await look(calling, **asked)).reason

    assert await reason() == "feature_disabled"
    await calling.catalog.upsert_feature(calling.project, FEATURE)
    assert await reason() == "plan_not_active"
    await calling.catalog.set_default_plan(calling.project, "basic")
    await calling.catalog.upsert_plan(calling.project, PLAN, [], [])
    assert await reason() == "not_in_plan"
    await calling.sell(PlanFeatureTerms("summary", is_enabled=False, per_day=0))
    assert await reason() == "plan_feature_disabled"
    await calling.sell(PlanFeatureTerms("summary", per_day=0))
    await calling.catalog.upsert_quality_level(calling.project, LEVEL._replace(is_active=False))
    assert await reason() == "quality_not_allowed"
    await calling.catalog.upsert_quality_level(calling.project, LEVEL)
    assert await reason() == "model_not_allowed"
    asked["model"] = "small"
    assert await reason() == "rate_limited"
    await calling.sell()
    assert await reason() == "insufficient_credits"
    calling.account = await calling.accounts.open(1, project_id=calling.project)
    assert await reason() is None


async def test_who_is_not_there_is_refused(calling: Calling) -> None:
    with pytest.raises(Refusal) as refusal:
        await calling.calls.check_access(calling.project, "summary")
    assert (refusal.value.code, refusal.value.facts) == (
        "NOT_FOUND",
        {"kind": "organization", "id": str(calling.project)},
    )


async def test_the_limits_of_all_that_is_open_are_told(calling: Calling) -> None:
    for key in ("poetry", "letters", "unsold"):
        await calling.catalog.upsert_feature(
            calling.project, FEATURE._replace(key=key, name=key.title())
        )
    await calling.catalog.upsert_feature(
        calling.project, FEATURE._replace(key="letters", name="Letters", is_active=False)
    )
    await calling.catalog.upsert_plan(
        calling.project,
        PLAN,
        [
            PlanFeatureTerms("summary", any_model=True, per_hour=2, per_customer_day=9),
            PlanFeatureTerms("poetry", any_model=True),
            PlanFeatureTerms("letters", any_model=True),
        ],
        [],
    )
    await calling.open("a", end_customer_ref="eve", output_tokens=1)
    rows = await calling.calls.read_limits(calling.account, end_customer_ref="eve")
    # What is switched off, or not in the plan, is not open.
    assert [(row.feature, row.name, row.reason) for row in rows] == [
        ("poetry", "Poetry", None),
        ("summary", "Summary", None),
    ]
    assert rows[0].limits == []
    assert [(limit["name"], limit["left"]) for limit in rows[1].limits] == [
        ("per_hour", 1),
        ("per_customer_day", 8),
    ]
    # No level of it is active: open, and yet closed.
    levels = [PlanLevelTerms("summary", "fast", ["small"])]
    await calling.sell(PlanFeatureTerms("summary"), levels)
    await calling.catalog.upsert_quality_level(calling.project, LEVEL._replace(is_active=False))
    [row] = await calling.calls.read_limits(calling.account)
    assert row.reason == "model_not_allowed"
    with pytest.raises(Refusal, match="NOT_FOUND"):
        await calling.calls.read_limits(calling.project)
