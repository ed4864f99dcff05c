"""aiAccess and featureLimits: what a front end asks before it lets people call a model."""

from typing import Any
from uuid import UUID

import pytest

from app.catalog import Catalog
from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.core.database import Database
from app.credits import Credits
from app.inference import ModelCalls, OpenRequest
from tests.support.accounts import CREDIT
from tests.support.api import Api
from tests.support.callers import Caller, Tenants
from tests.support.catalogs import FEATURE, LEVELS, MODEL, PLAN, PRICE, make_catalog
from tests.support.model_calls import digest


@pytest.fixture
async def organization(tenants: Tenants, catalog: Catalog, credits: Credits) -> UUID:
    """Return an organization whose plan opens one feature, an hour at a time."""
    await make_catalog(catalog, tenants.project)
    await catalog.upsert_model(tenants.project, MODEL, PRICE)
    await catalog.upsert_plan(
        tenants.project, PLAN, [PlanFeatureTerms("summary", per_hour=2, per_customer_day=1)], LEVELS
    )
    await catalog.set_default_plan(tenants.project, "basic")
    await credits.issue_grant(tenants.organization, 50 * CREDIT, "top_up", "access")
    return tenants.organization


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


async def access(api: Api, organization: UUID, **asked: Any) -> Any:
    """Ask as the organization's own key."""
    variables = {"organizationId": str(organization), "feature": "summary", **asked}
    return (await api.run("aiAccess", variables, Caller.ORGANIZATION)).result


async def test_what_is_open_is_told(api: Api, organization: UUID) -> None:
    told = await access(api, organization)
    assert told.pop("periodEnd") is not None
    spendable = told.pop("spendable")
    assert float(spendable) >= 50
    assert told == {
        "isAllowed": True,
        "reason": None,
        "plan": "basic",
        "planVersion": 2,
        "quality": "fast",
        "model": "small",
        "estimate": "1",
        "shortfall": "0",
        "openingPlans": [],
        "availableQualityLevels": [{"quality": "fast", "name": "Fast", "models": ["small"]}],
        "limits": [
            {
                "name": "PER_HOUR",
                "most": 2,
                "used": 0,
                "left": 2,
                "windowSeconds": 3600,
                "resetsAt": None,
            }
        ],
    }


async def test_what_stands_against_it_is_told(
    api: Api, organization: UUID, database: Database
) -> None:
    told = await access(api, organization, quality="best")
    assert (told["isAllowed"], told["reason"]) == (False, "QUALITY_NOT_ALLOWED")
    told = await access(api, organization, model="large")
    assert told["reason"] == "MODEL_NOT_ALLOWED"
    told = await access(api, organization, feature="poetry")
    assert (told["reason"], told["estimate"]) == ("FEATURE_NOT_FOUND", None)
    calls = ModelCalls(database)
    request = OpenRequest("a", digest("a"), "summary", None, None, 10, 10, end_customer_ref="eve")
    await calls.open(organization, request)
    told = await access(api, organization, endCustomer="eve")
    assert told["reason"] == "CUSTOMER_LIMIT_EXCEEDED"
    assert [limit["name"] for limit in told["limits"]] == ["PER_HOUR", "PER_CUSTOMER_DAY"]
    assert told["limits"][1]["resetsAt"] is not None
    await calls.open(organization, request._replace(idempotency_key="b", end_customer_ref=None))
    told = await access(api, organization)
    assert (told["reason"], told["limits"][0]["left"]) == ("RATE_LIMITED", 0)


async def test_limits_of_all_features_are_told_at_once(
    api: Api, organization: UUID, tenants: Tenants, catalog: Catalog
) -> None:
    await catalog.upsert_feature(tenants.project, FEATURE._replace(key="poetry", name="Poetry"))
    await catalog.upsert_feature(
        tenants.project, FEATURE._replace(key="letters", name="Letters", is_active=False)
    )
    await catalog.upsert_plan(
        tenants.project,
        PLAN,
        [
            PlanFeatureTerms("summary", per_minute=5),
            PlanFeatureTerms("poetry", any_model=True, is_enabled=False),
        ],
        [PlanLevelTerms("summary", "fast", ["small"])],
    )
    variables = {"organizationId": str(organization)}
    told = (await api.run("featureLimits", variables, Caller.ORGANIZATION)).result
    assert [(each["feature"], each["name"], each["reason"]) for each in told] == [
        ("summary", "Summary", None)
    ]
    assert told[0]["limits"][0]["name"] == "PER_MINUTE"


async def test_who_has_run_dry_is_told_what_is_missing(
    api: Api, organization: UUID, tenants: Tenants, catalog: Catalog
) -> None:
    await catalog.upsert_feature(
        tenants.project, FEATURE._replace(base_estimate=1_000_000 * CREDIT)
    )
    told = await access(api, organization)
    assert (told["isAllowed"], told["reason"]) == (False, "INSUFFICIENT_CREDITS")
    assert float(told["shortfall"]) == 1_000_000 - float(told["spendable"])
