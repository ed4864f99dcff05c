"""Calls of models over GraphQL: what they answer, what they cost, what is refused."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.catalog import Catalog
from app.catalog.edits import PlanFeatureTerms
from app.core.database import Database
from app.standin import StandIn
from db.driver import Connection
from tests.graphql.asking import Asking, charged
from tests.graphql.requests import Requests, everything
from tests.support.api import Api
from tests.support.callers import Caller, Tenants
from tests.support.catalogs import MODEL, PLAN, PRICE
from tests.support.live import until


@pytest.fixture(autouse=True)
async def _sold(requests: Requests) -> None:
    await requests.sell()


async def test_a_conversation_goes_on_and_is_charged(
    asking: Asking, admin: Connection, organization: str, api: Api, standin: StandIn
) -> None:
    result = await asking.chat("hello tokens=5", parameters={"user": "one", "seed": 7})
    call = result.pop("call")
    assert result == {
        "__typename": "CreateChatCompletionSuccess",
        "content": " Credits are reserved before a",
        "refusal": None,
        "toolCalls": None,
        "finishReason": "stop",
    }
    assert (call["model"], call["creditsUsed"]) == ("small", "0.25")
    assert call["usage"] == {
        "inputTokens": standin.said["one"].read,
        "cachedInputTokens": 0,
        "outputTokens": 5,
        "isEstimated": False,
    }
    assert (call["balance"]["available"], call["balance"]["reserved"]) == ("99.75", "0")
    assert await charged(admin, organization) == [250_000]
    told = (await api.run("charge", {"organizationId": organization, "id": call["id"]})).result
    assert (told["charged"], told["state"], told["outputTokens"]) == ("0.25", "SETTLED", 5)
    assert told["draws"][0]["amount"] == "0.25"


async def test_nonsense_is_held_and_shown_as_much_as_can_be(
    asking: Asking, admin: Connection, organization: str, api: Api
) -> None:
    call = (await asking.chat("hello tokens=5 usage=negative"))["call"]
    assert (call["creditsUsed"], await charged(admin, organization)) == (None, [])
    told = (await api.run("charge", {"organizationId": organization, "id": call["id"]})).result
    assert (told["charged"], told["state"]) == (None, "ANSWERED")
    most = 2**31 - 1
    assert most in (told["inputTokens"], told["outputTokens"])
    assert call["usage"]["inputTokens"] == told["inputTokens"]
    assert call["usage"]["outputTokens"] == told["outputTokens"]


async def test_a_text_goes_on(asking: Asking) -> None:
    result = await asking.ask("createCompletion", prompt="once tokens=3")
    assert (result["text"], result["finishReason"]) == (" Credits are reserved", "stop")
    assert result["call"]["creditsUsed"] == "0.25"


async def test_tools_and_more_pass_through(asking: Asking) -> None:
    tool = {"type": "function", "function": {"name": "say", "parameters": {"type": "object"}}}
    result = await asking.chat("hello", parameters={"tools": [tool]})
    assert (result["content"], result["finishReason"]) == (None, "tool_calls")
    assert result["toolCalls"][0]["function"]["name"] == "say"


async def test_what_a_charge_costs_the_house_is_for_back_ends(
    asking: Asking, api: Api, organization: str
) -> None:
    call = (await asking.chat("hello tokens=5", model="small"))["call"]
    variables = {"organizationId": organization, "id": call["id"]}
    told = (await api.run("charge", variables, Caller.PROJECT)).result
    assert told["providerCost"]["outputPerMillion"] == "0.000004"
    told = (await api.run("charge", variables, Caller.ORGANIZATION)).result
    assert (told["providerCost"], told["charged"]) == (None, "0.25")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "USER", "content": ""}]}, "messages.content"),
        ({"messages": [{"role": "USER", "content": "x" * 200_001}]}, "messages.content"),
        ({"maxTokens": 0}, "maxTokens"),
        ({"maxTokens": 8_193}, "maxTokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"topP": 1.1}, "topP"),
        ({"presencePenalty": -2.5}, "presencePenalty"),
        ({"frequencyPenalty": 3}, "frequencyPenalty"),
        ({"stop": []}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"parameters": []}, "parameters"),
        ({"parameters": {"max_tokens": 5}}, "parameters"),
        ({"parameters": {"stream": True}}, "parameters"),
        ({"parameters": {"n": 5}}, "parameters"),
        ({"parameters": {"service_tier": "priority"}}, "service_tier"),
        ({"parameters": {"modalities": ["audio"]}}, "modalities"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    asking: Asking, standin: StandIn, admin: Connection, fields: dict[str, Any], field: str
) -> None:
    asked, before = standin.requests, await everything(admin)
    result = await asking.chat(**fields)
    assert (result["__typename"], result["field"]) == ("InvalidInput", field)
    assert standin.requests == asked
    assert await everything(admin) == before


async def test_refusals_say_what_would_help(
    asking: Asking, database: Database, tenants: Tenants, standin: StandIn
) -> None:
    catalog, asked = Catalog(database), standin.requests
    result = await asking.chat(feature="poetry")
    assert (result["code"], result["reason"]) == ("FEATURE_DENIED", "feature_not_found")
    result = await asking.chat(model="large")
    assert result["reason"] == "model_not_allowed"
    open_once = PlanFeatureTerms("chat_completion", any_model=True, per_hour=0)
    await catalog.upsert_plan(tenants.project, PLAN._replace(key="calls"), [open_once], [])
    result = await asking.chat()
    assert (result["code"], result["limit"], result["most"], result["resetsAt"]) == (
        "RATE_LIMITED",
        "per_hour",
        0,
        None,
    )
    assert standin.requests == asked


async def test_without_credits_nobody_is_asked(
    asking: Asking, database: Database, tenants: Tenants, standin: StandIn
) -> None:
    dear = PRICE._replace(output_nanodollars=10**15)
    await Catalog(database).upsert_model(tenants.project, MODEL, dear)
    asked = standin.requests
    result = await asking.chat(model="small")
    assert (result["code"], result["spendable"]) == ("INSUFFICIENT_CREDITS", "100")
    assert standin.requests == asked


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("hello status=400", "PROVIDER_REFUSED"),
        ("hello status=401", "PROVIDER_UNAVAILABLE"),
        ("hello status=500", "PROVIDER_ERROR"),
    ],
)
async def test_failures_of_providers_cost_nothing(
    asking: Asking, admin: Connection, organization: str, said: str, code: str
) -> None:
    result = await asking.chat(said)
    assert result["code"] == code
    if code == "PROVIDER_REFUSED":
        assert result["reason"] == "told to answer 400"
    assert await charged(admin, organization) == []


async def test_a_key_asks_once(asking: Asking, standin: StandIn) -> None:
    asked = standin.requests
    one, other = await asyncio.gather(
        *(asking.chat("hello after=0.2", idempotencyKey="k") for _ in range(2))
    )
    assert {one["__typename"], other["__typename"]} == {
        "CreateChatCompletionSuccess",
        "DuplicateRequest",
    }
    assert standin.requests == asked + 1


# Piece by piece.


async def heard(api: Api, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all that a stream tells."""
    async with api.watch("chatCompletionStream", {"input": asked}, Caller.PROJECT) as told:
        return [payload async for payload in told]


async def test_an_answer_comes_piece_by_piece(
    asking: Asking, api: Api, admin: Connection, organization: str
) -> None:
    told = await heard(api, asking.input("hello tokens=6 chunk=2"))
    pieces = [each["data"]["chatCompletionStream"] for each in told]
    *said, last = pieces
    assert [piece["content"] for piece in said] == [
        " Credits are",
        " reserved before",
        " a model",
        "",
    ]
    assert said[-1]["finishReason"] == "stop"
    assert all(piece["usage"] is None for piece in said)
    assert (last["usage"]["outputTokens"], last["creditsUsed"]) == (6, "0.25")
    assert (last["balance"]["available"], last["balance"]["reserved"]) == ("99.75", "0")
    assert len({piece["callId"] for piece in pieces}) == 1
    assert await charged(admin, organization) == [250_000]


async def test_who_leaves_is_charged_for_what_was_written(
    asking: Asking, api: Api, admin: Connection, organization: str
) -> None:
    asked = asking.input("hello tokens=500 pause=0.01")
    async with api.watch("chatCompletionStream", {"input": asked}, Caller.PROJECT) as told:
        await anext(told)

    async def outcome() -> Any:
        return await admin.fetchval(
            "select outcome from inference.calls where account_id = $1", UUID(organization)
        )

    await until(outcome)
    assert await outcome() == "left"
    assert len(await charged(admin, organization)) == 1


async def test_who_leaves_before_the_first_piece_leaves_nothing_held(
    asking: Asking, api: Api, admin: Connection, standin: StandIn, organization: str
) -> None:
    asked, before = asking.input("hello tokens=5 after=1"), standin.requests
    async with api.watch("chatCompletionStream", {"input": asked}, Caller.PROJECT):
        await until(lambda: standin.requests > before)

    async def call() -> Any:
        return await admin.fetchrow(
            "select outcome, output_tokens from inference.calls"
            " where account_id = $1 and closed_at is not null",
            UUID(organization),
        )

    await until(call)
    assert dict(await call()) == {"outcome": "left", "output_tokens": 0}
    held = "select reserved from credits.accounts where account_id = $1"
    assert await admin.fetchval(held, UUID(organization)) == 0


async def test_the_same_stream_twice_is_asked_once(
    asking: Asking, api: Api, standin: StandIn
) -> None:
    asked, before = asking.input("hello tokens=2"), standin.requests
    await heard(api, asked)
    [again] = await heard(api, asked)
    assert again["errors"][0]["extensions"]["code"] == "DUPLICATE_REQUEST"
    assert standin.requests == before + 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("hello status=400", "PROVIDER_REFUSED"),
        ("hello status=500", "PROVIDER_ERROR"),
        ("hello tokens=9 cut=3 pause=0.001", "PROVIDER_ERROR"),
    ],
)
async def test_a_stream_that_fails_says_so(asking: Asking, api: Api, said: str, code: str) -> None:
    *_, last = await heard(api, asking.input(said))
    assert last["errors"][0]["extensions"]["code"] == code
