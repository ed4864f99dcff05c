"""The models of a project: what they cost, and which of them somebody looks for."""

from typing import Any

import pytest

from tests.graphql.expected import keys, transact
from tests.support.api import Api
from tests.support.callers import Caller, Tenants

SMALL = {
    "key": "small",
    "provider": "openai",
    "providerModelId": "small-1",
    "name": "Small",
    "tier": "FAST",
    "capabilities": ["TEXT"],
    "contextLength": 1000,
    "maxOutputTokens": 100,
    "creditsPer1kTokens": None,
    "isAvailable": True,
    "isPriced": True,
    "deprecatedAt": None,
    "rank": 0,
    "replacement": None,
    "price": {
        "version": 1,
        "inputPerMillion": "0.000001",
        "cachedInputPerMillion": "0.0000001",
        "outputPerMillion": "0.000004",
    },
}


async def test_a_model_is_shown_with_what_it_costs_to_back_ends_alone(
    api: Api, project: str
) -> None:
    del project
    for caller in (Caller.PROJECT, Caller.ORGANIZATION):
        shown = (await api.run("model", {"key": "small"}, caller)).result
        assert shown == SMALL | ({} if caller is Caller.PROJECT else {"price": None})


async def test_a_model_is_priced_by_the_editor_or_by_the_list(api: Api, project: str) -> None:
    model = {
        "projectId": project,
        "key": "dear",
        "provider": "openai",
        "providerModelId": "gpt-4o-mini",
        "name": "Dear",
        "tier": "POWERFUL",
        "contextLength": 128000,
        "maxOutputTokens": 16000,
        "capabilities": ["CODE", "VISION"],
        "replacementKey": "small",
        "creditsPer1kTokens": "1.5",
    }
    price = {"inputPerMillion": "2.5", "outputPerMillion": "10"}
    made = (await transact(api, "upsertModel", **model, price=price))["model"]
    assert made["creditsPer1kTokens"] == "1.5"
    assert made["capabilities"] == ["CODE", "VISION"]
    assert made["replacement"] == {"key": "small", "name": "Small"}
    # Cached input costs what any does unless told otherwise.
    assert made["price"] == {
        "version": 1,
        "inputPerMillion": "2.5",
        "cachedInputPerMillion": "2.5",
        "outputPerMillion": "10",
    }
    listed = await transact(api, "upsertModel", **model, priceListEntry="gpt-4o-mini")
    assert listed["model"]["price"]["version"] == 2
    assert listed["model"]["price"]["inputPerMillion"] == "0.15"
    again = await transact(api, "upsertModel", **model)
    assert again["replayed"] is True


@pytest.mark.parametrize(
    ("filtered", "expected"),
    [
        ({}, ["a", "b", "z", "small", "gone"]),
        ({"isAvailable": False}, ["gone"]),
        ({"provider": "anthropic"}, ["b"]),
        ({"tier": "POWERFUL"}, ["z", "gone"]),
        # Any of them.
        ({"capabilities": ["VISION", "CODE"]}, ["a", "z"]),
        ({"capabilities": []}, []),
        ({"plan": "basic"}, ["a", "small"]),
        ({"plan": "open"}, ["a", "b", "z", "small", "gone"]),
        ({"plan": "basic", "feature": "exports"}, []),
        ({"feature": "summary", "plan": "basic", "quality": "fast"}, ["a", "small"]),
        ({"feature": "exports"}, []),
    ],
)
async def test_models_are_found_by_what_is_asked_of_them(
    filtered: dict[str, Any], expected: list[str], api: Api, tenants: Tenants
) -> None:
    project = str(tenants.project)
    level = {"quality": "fast", "models": ["a", "small"]}
    changes: dict[str, dict[str, Any]] = {
        "small": {"tier": "FAST"},
        "a": {"capabilities": ["VISION"]},
        "b": {"provider": "anthropic"},
        "z": {"capabilities": ["CODE"], "tier": "POWERFUL", "name": "Blue"},
        "gone": {"isAvailable": False, "tier": "POWERFUL", "name": "Aged"},
    }
    for key, change in changes.items():
        model: dict[str, Any] = {
            "projectId": project,
            "key": key,
            "provider": "openai",
            "providerModelId": key,
            "name": "Red" if key == "small" else "Blue",
            "tier": "BALANCED",
            "contextLength": 1000,
            "maxOutputTokens": 100,
            "creditsPer1kTokens": "1",
        }
        await transact(api, "upsertModel", **model | change)
    quality = {"key": "fast", "name": "Fast", "rank": 0, "multiplierBasisPoints": 10000}
    await transact(api, "upsertQualityLevel", projectId=project, **quality)
    for key in ("summary", "exports"):
        await transact(api, "upsertFeature", projectId=project, key=key, kind="AI", name=key)
    feature = {"feature": "summary", "qualityLevels": [level]}
    for key, features in {
        "basic": [feature, {"feature": "exports", "isEnabled": False, "anyModel": True}],
        "open": [{"feature": "summary", "anyModel": True}],
    }.items():
        plan: dict[str, Any] = {"kind": "RECURRING", "name": key, "rank": 0, "features": features}
        await transact(api, "upsertPlan", projectId=project, key=key, **plan)
    assert await keys(api, "models", Caller.ORGANIZATION, filter=filtered) == expected


@pytest.mark.parametrize(
    ("filtered", "code"),
    [
        ({"plan": "none"}, "NOT_FOUND"),
        ({"plan": "basic", "feature": "none"}, "NOT_FOUND"),
        ({"plan": "basic", "quality": "none"}, "NOT_FOUND"),
        ({"quality": "fast"}, "VALIDATION_ERROR"),
    ],
)
async def test_a_filter_names_what_is_there(
    filtered: dict[str, Any], code: str, api: Api, project: str
) -> None:
    del project
    assert (await api.run("models", {"filter": filtered}, Caller.PROJECT)).code == code
