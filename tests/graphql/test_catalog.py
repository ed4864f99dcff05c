"""What a project sells, as its back-ends edit it and its customers see it."""

from typing import Any

import pytest

from app.catalog import Catalog
from app.catalog.seeds import seed_catalog
from app.core.database import Database
from db.driver import Connection
from tests.graphql.expected import NOW, START, keys, transact
from tests.graphql.requests import Requests, everything
from tests.support.api import Api
from tests.support.callers import Caller, Tenants
from tests.support.clock import Clock

PLAN = {
    "key": "team",
    "kind": "RECURRING",
    "name": "Team",
    "rank": 3,
    "monthlyCredits": "2000",
    "requestsPerMinute": 120,
    "features": [
        {
            "feature": "summary",
            "perHour": 100,
            "perCustomerDay": 4,
            "qualityLevels": [{"quality": "fast", "models": ["other", "small"]}],
        }
    ],
}


async def test_a_plan_is_shown_with_all_that_it_opens(api: Api, project: str) -> None:
    made = await transact(api, "upsertPlan", projectId=project, **PLAN)
    assert made["replayed"] is False
    shown = (await api.run("plan", {"key": "team"}, Caller.ORGANIZATION)).result
    assert shown == made["plan"]
    assert shown == {
        "key": "team",
        "kind": "RECURRING",
        "name": "Team",
        "description": None,
        "rank": 3,
        "version": 1,
        "archivedAt": None,
        "isDefault": False,
        "monthlyCredits": "2000",
        "welcomeCredits": "0",
        "rolloverCap": "0",
        "requestsPerMinute": 120,
        "tokensPerMinute": None,
        "creditsPerDay": None,
        "includesPlanKey": None,
        "streamsStop": True,
        "features": [
            {
                "feature": {
                    "key": "summary",
                    "kind": "AI",
                    "name": "Summary",
                    "isActive": True,
                },
                "isEnabled": True,
                "anyModel": False,
                "limit": None,
                "perMinute": None,
                "perHour": 100,
                "perDay": None,
                "perCustomerDay": 4,
                "qualityLevels": [
                    {
                        "quality": {"key": "fast", "name": "Fast"},
                        # In the order in which they are tried.
                        "models": [
                            {"key": "other", "name": "Small"},
                            {"key": "small", "name": "Small"},
                        ],
                    }
                ],
            }
        ],
    }


async def test_other_contents_are_the_next_version_and_the_same_are_none(
    api: Api, project: str
) -> None:
    for change, version, replayed in (
        ({}, 1, False),
        ({}, 1, True),
        ({"name": "Teams"}, 1, False),
        ({"unlimited": True, "monthlyCredits": "0"}, 2, False),
    ):
        done = await transact(api, "upsertPlan", projectId=project, **PLAN | change)
        assert (done["plan"]["version"], done["replayed"]) == (version, replayed)
        assert (done["plan"]["monthlyCredits"] is None) is (version == 2)


async def test_plans_come_by_rank_and_archived_ones_when_asked_for(api: Api, project: str) -> None:
    await transact(api, "upsertPlan", projectId=project, **PLAN)
    await transact(api, "setDefaultPlan", projectId=project, key="team")
    archived = await transact(api, "archivePlan", projectId=project, key="basic")
    assert archived["plan"]["archivedAt"] is not None
    assert await keys(api, "plans", Caller.ORGANIZATION) == ["team"]
    everyone = await keys(api, "plans", Caller.PROJECT, includeArchived=True)
    assert everyone == ["basic", "team"]
    restored = await transact(api, "archivePlan", projectId=project, key="basic", archived=False)
    assert (restored["plan"]["archivedAt"], restored["replayed"]) == (None, False)


@pytest.mark.parametrize(
    ("operation", "change", "field"),
    [
        ("upsertModel", {"priceListEntry": "no-such-model", "price": None}, "priceListEntry"),
        ("upsertModel", {"priceListEntry": "gpt-4o-mini"}, "price"),
        ("upsertModel", {"name": "nul \x00"}, "name"),
        ("upsertModel", {"replacementKey": "large"}, "replacement"),
        ("upsertPlan", {"monthlyCredits": "-1"}, "monthlyCredits"),
        ("upsertPlan", {"monthlyCredits": "1", "unlimited": True}, "monthlyCredits"),
        ("upsertPlan", {"features": [{"feature": "summary"}] * 2}, "features"),
        ("upsertFeature", {"key": "Exports"}, "key"),
        ("upsertQualityLevel", {"multiplierBasisPoints": 0}, "multiplier"),
        ("archivePlan", {"key": "x" * 256}, "key"),
    ],
)
async def test_what_cannot_be_sold_is_refused_by_its_field(
    operation: str,
    change: dict[str, Any],
    field: str,
    api: Api,
    requests: Requests,
    admin: Connection,
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    refused = await api.run(operation, {"input": variables["input"] | change})
    assert (refused.code, refused.result["field"]) == ("VALIDATION_ERROR", field)
    assert await everything(admin) == before


async def test_an_archived_plan_is_neither_edited_nor_the_default(
    api: Api, project: str, admin: Connection
) -> None:
    await transact(api, "archivePlan", projectId=project, key="basic")
    before = await everything(admin)
    plan = PLAN | {"key": "basic", "projectId": project}
    for operation, fields in (
        ("upsertPlan", plan),
        ("setDefaultPlan", {"key": "basic", "projectId": project}),
    ):
        assert (await api.run(operation, {"input": fields})).code == "PLAN_INACTIVE"
    assert await everything(admin) == before


async def test_features_and_levels_are_shown_whole(api: Api, project: str) -> None:
    exports = {"key": "exports", "kind": "LIMIT", "name": "Exports"}
    await transact(api, "upsertFeature", projectId=project, **exports)
    whole = (await api.run("features", {}, Caller.ORGANIZATION)).result
    assert [each["key"] for each in whole] == ["exports", "summary"]
    assert whole[1] == {
        "key": "summary",
        "kind": "AI",
        "name": "Summary",
        "description": None,
        "category": None,
        "icon": None,
        "isActive": True,
        "baseEstimate": "1",
    }
    assert await keys(api, "features", Caller.PROJECT, kind="LIMIT") == ["exports"]
    assert (await api.run("qualityLevels", {}, Caller.ORGANIZATION)).result == [
        {
            "key": "fast",
            "name": "Fast",
            "rank": 0,
            "multiplierBasisPoints": 10000,
            "isActive": True,
        }
    ]


async def test_who_edited_what_is_told_page_by_page(api: Api, project: str, clock: Clock) -> None:
    await clock.set(NOW)
    feature = {"key": "summary", "kind": "AI", "name": "Digest", "baseEstimate": "1"}
    answered = await api.run("upsertFeature", {"input": feature}, Caller.PROJECT_CATALOG)
    assert answered.result["feature"]["name"] == "Digest"
    asked = {"first": 1, "count": True, "projectId": project}
    page = (await api.run("catalogChanges", asked)).result
    assert page["totalCount"] == 6
    [edit] = page["nodes"]
    assert edit.pop("actorId")
    assert edit == {
        "version": 6,
        "changedAt": START,
        "subject": "FEATURE",
        "key": "summary",
        "actorKind": "project_key",
        "actorLabel": "key of the project with catalog:write",
        "fields": [{"field": "name", "before": '"Summary"', "after": '"Digest"'}],
    }
    asked["after"] = page["pageInfo"]["endCursor"]
    asked["first"] = 100
    rest = (await api.run("catalogChanges", asked)).result
    assert [each["version"] for each in rest["nodes"]] == [5, 4, 3, 2, 1]
    assert rest["nodes"][0]["fields"][-1] == {"field": "version", "before": None, "after": "1"}
    assert rest["pageInfo"]["hasNextPage"] is False
    wrong = await api.run("catalogChanges", asked | {"after": "MTp4"})
    assert wrong.code == "VALIDATION_ERROR"


async def test_a_key_of_another_project_sees_its_own_and_nothing_else(
    api: Api, project: str
) -> None:
    for operation in ("plans", "features", "qualityLevels", "models"):
        assert await keys(api, operation, Caller.PROJECT) != []
        assert await keys(api, operation, Caller.ELSEWHERE) == []
        foreign = await api.run(operation, {"projectId": project}, Caller.ELSEWHERE)
        assert foreign.code == "NOT_FOUND"
    for operation, key in (("plan", "basic"), ("model", "small")):
        assert (await api.run(operation, {"key": key}, Caller.ELSEWHERE)).code == "NOT_FOUND"
        assert (await api.run(operation, {"key": key}, Caller.PROJECT)).code == "OK"


async def test_an_administrator_names_the_project(api: Api) -> None:
    refused = await api.run("plans", {}, Caller.ADMIN)
    assert refused.code == "VALIDATION_ERROR"
    [error] = refused.body["errors"]
    assert error["extensions"]["field"] == "projectId"
    nowhere = "01936b2e-0000-7000-8000-000000000000"
    assert (await api.run("plans", {"projectId": nowhere})).code == "NOT_FOUND"


async def test_the_seeded_catalog_is_answered_whole_within_its_limits(
    api: Api, tenants: Tenants, database: Database
) -> None:
    await seed_catalog(Catalog(database), tenants.project)
    plans = (await api.run("plans", {}, Caller.PROJECT)).result
    assert [plan["key"] for plan in plans] == ["free", "pro", "team", "enterprise"]
    assert [plan["monthlyCredits"] for plan in plans] == ["10", "500", "2000", "10000"]
    assert [plan["isDefault"] for plan in plans] == [True, False, False, False]
    opened = [
        (plan["key"], feature["feature"]["key"], level["quality"]["key"])
        for plan in plans[:3]
        for feature in plan["features"]
        for level in feature["qualityLevels"]
    ]
    assert len(opened) == len(set(opened)) == 16
    models = (await api.run("models", {}, Caller.PROJECT)).result
    assert len(models) == 10
