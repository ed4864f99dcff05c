"""Answers that come at once: reserved for, asked, charged, told."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.core.units import show_credits
from tests.inference.conftest import Door
from tests.support.accounts import CREDIT
from tests.support.catalogs import MODEL, OTHER
from tests.support.live import until
from tests.support.model_calls import DEAR, NOW


async def test_an_answer_is_charged_for_what_it_used(door: Door) -> None:
    response = await door.ask("hello tokens=7")
    told = response.json()
    assert response.status_code == 200
    assert told["choices"][0]["message"]["content"].split()[:2] == ["Credits", "are"]
    cost = door.cost()
    assert told["usage"] == {
        "prompt_tokens": door.truth().read,
        "completion_tokens": 7,
        "total_tokens": door.truth().read + 7,
        "prompt_tokens_details": {"cached_tokens": 0},
        "credits_used": show_credits(cost),
    }
    call = await door.call()
    assert response.headers["x-exchequer-call"] == str(call["id"])
    assert response.headers["x-exchequer-credits"] == show_credits(cost)
    assert response.headers["x-exchequer-spendable"] == show_credits(100_000 * CREDIT - cost)
    assert (call["state"], call["outcome"], call["usage_estimated"]) == (
        "settled",
        "complete",
        False,
    )
    assert (call["feature"], call["quality"], call["model"]) == ("summary", "fast", "small")
    assert call["trace_id"] == response.headers["x-request-id"]
    assert (await door.charged(), await door.reserved()) == (cost, 0)
    # The provider was asked by its own name of the model.
    assert door.truth().model == "small-1"


async def test_what_was_cached_costs_less(door: Door) -> None:
    await door.ask("hello cached=3")
    assert door.truth().cached == 3
    assert await door.charged() == door.cost()


async def test_an_answer_that_was_cut_short_says_so(door: Door) -> None:
    told = (await door.ask("hello tokens=50", max_tokens=10)).json()
    assert told["choices"][0]["finish_reason"] == "length"
    assert (await door.call())["outcome"] == "length"
    assert await door.charged() == door.cost()


@pytest.mark.parametrize("changed", [{"inference_output_tokens": 12}])
async def test_an_answer_without_a_bound_gets_one(door: Door) -> None:
    told = (await door.ask("hello tokens=50", max_tokens=None)).json()
    assert told["usage"]["completion_tokens"] == 12
    assert (await door.call())["output_limit"] == 12


async def test_each_choice_is_charged(door: Door) -> None:
    told = (await door.ask("hello tokens=5", n=3, max_tokens=5)).json()
    assert len(told["choices"]) == 3
    assert door.truth().written == 15
    assert await door.charged() == door.cost()
    assert (await door.call())["output_limit"] == 15


async def test_tools_and_what_nobody_knows_pass_through(door: Door) -> None:
    tool = {"type": "function", "function": {"name": "say", "parameters": {"type": "object"}}}
    told = (await door.ask("hello", tools=[tool], of_tomorrow={"a": [1]})).json()
    [call] = told["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "say"
    assert told["choices"][0]["finish_reason"] == "tool_calls"


async def test_texts_are_completed_and_embedded(door: Door) -> None:
    body = {"model": "small", "prompt": "once tokens=4", "user": "t", "max_tokens": 9}
    told = await door.client.post("/v1/completions", json=body, headers=door.headers())
    assert told.json()["choices"][0]["text"] == " Credits are reserved before"
    body = {"model": "small", "input": ["once", "upon"], "user": "e"}
    told = await door.client.post("/v1/embeddings", json=body, headers=door.headers())
    assert [each["index"] for each in told.json()["data"]] == [0, 1]
    assert door.truth("e").written == 0
    assert await door.charged() == door.cost("t") + door.cost("e")


# What providers say they used.


async def test_what_a_provider_does_not_say_is_estimated(door: Door) -> None:
    told = (await door.ask("hello usage=none tokens=6")).json()
    call = await door.call()
    assert (call["usage_estimated"], call["output_tokens"]) == (True, 6)
    assert call["input_tokens"] == call["prompt_tokens"] >= door.truth().read
    assert told["usage"]["is_estimated"] is True
    assert told["usage"]["credits_used"] == show_credits(await door.charged())


async def test_nothing_used_is_nothing_charged(door: Door) -> None:
    told = (await door.ask("hello usage=zero")).json()
    assert told["usage"]["credits_used"] == "0"
    assert (await door.call())["state"] == "settled"
    assert await door.charged() == 0


@pytest.mark.parametrize("usage", ["absurd", "negative"])
async def test_nonsense_is_not_charged_at_once(door: Door, usage: str) -> None:
    response = await door.ask(f"hello usage={usage}")
    assert response.status_code == 200
    assert "x-exchequer-credits" not in response.headers
    assert (await door.call())["state"] == "answered"
    assert await door.charged() == 0
    assert await door.reserved() > 0


# What providers do instead of answering.


async def test_a_request_that_the_provider_refuses_costs_nothing(door: Door) -> None:
    response = await door.ask(temperature="hot")
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "'temperature' must be a number"
    assert door.requests == 1
    call = await door.call()
    assert (call["state"], call["status_code"]) == ("released", 400)
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def broken(door: Door) -> None:
    """Let the model that is asked first fail always."""
    await door.calling.catalog.upsert_model(
        door.calling.project, MODEL._replace(provider_model_id="always-broken"), DEAR
    )


async def test_another_model_stands_in(door: Door) -> None:
    await broken(door)
    response = await door.ask("hello tokens=9", model="auto")
    assert response.status_code == 200
    call = await door.call()
    assert (call["model"], call["attempt"], call["state"]) == ("other", 2, "settled")
    [attempt] = await door.calling.admin.fetch(
        "select * from inference.attempts where account_id = $1", door.calling.account
    )
    assert (attempt["model"], attempt["status_code"]) == ("small", 500)
    assert attempt["error"] == "broken: told to answer 500"
    # By its own rate: two credits for a thousand tokens.
    assert await door.charged() == 250_000


async def test_where_nobody_stands_in_nothing_is_charged(door: Door) -> None:
    await broken(door)
    other = OTHER._replace(credits_per_1k_tokens=CREDIT, provider_model_id="always-broken")
    await door.calling.catalog.upsert_model(door.calling.project, other)
    response = await door.ask(model="auto")
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "provider_error"
    assert (await door.call())["state"] == "released"
    assert (await door.charged(), await door.reserved()) == (0, 0)
    assert door.requests == 2


async def alone(door: Door) -> None:
    """Let one model answer, for which nobody stands in."""
    levels = [PlanLevelTerms("summary", "fast", ["small"])]
    await door.calling.sell(PlanFeatureTerms("summary"), levels)


async def test_a_model_alone_is_asked_once_more(door: Door) -> None:
    await alone(door)
    response = await door.ask("hello fails=1")
    assert response.status_code == 200
    assert door.requests == 2
    assert (await door.call())["attempt"] == 2


async def test_who_is_told_to_wait_long_is_told_so(door: Door) -> None:
    await alone(door)
    response = await door.ask("hello status=429 retry=30")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "30"
    assert door.requests == 1


async def test_an_answer_that_breaks_off_is_none(door: Door) -> None:
    await alone(door)
    response = await door.ask("hello cut=0")
    assert response.status_code == 502
    assert door.requests == 2
    assert (await door.charged(), await door.reserved()) == (0, 0)


@pytest.mark.parametrize("changed", [{"provider_silent_seconds": 0.2}])
async def test_a_provider_that_says_nothing_is_left(door: Door) -> None:
    await alone(door)
    response = await door.ask("hello after=5")
    assert response.status_code == 504
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_a_provider_that_is_not_there_is_none(door: Door) -> None:
    await alone(door)
    await door.standin.stop()
    try:
        response = await door.ask()
    finally:
        await door.standin.start()
    assert response.status_code == 502
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_a_key_that_the_provider_does_not_know_is_our_fault(door: Door) -> None:
    await alone(door)
    key, door.standin.key = door.standin.key, "another"
    try:
        response = await door.ask()
    finally:
        door.standin.key = key
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "provider_unavailable"
    assert "Incorrect" not in error["message"]


async def test_a_provider_without_a_key_is_not_asked(door: Door) -> None:
    await alone(door)
    await door.calling.catalog.upsert_model(
        door.calling.project, MODEL._replace(provider="elsewhere"), DEAR
    )
    response = await door.ask()
    assert (response.status_code, response.json()["error"]["code"]) == (
        503,
        "provider_unavailable",
    )
    assert door.requests == 0


@pytest.mark.parametrize("changed", [{"inference_lease_seconds": 3}])
async def test_who_takes_long_says_that_somebody_is_at_work(door: Door) -> None:
    asking = asyncio.create_task(door.ask("hello after=3 tokens=3"))

    async def is_leased_until(at: datetime) -> bool:
        return any(call["leased_until"] >= at for call in await door.calls())

    await until(lambda: is_leased_until(NOW + timedelta(seconds=3)))
    # Its lease would end a second from now.
    await door.calling.later(seconds=2)
    await until(lambda: is_leased_until(NOW + timedelta(seconds=5)))
    assert (await asking).status_code == 200
    assert await door.charged() == door.cost()


# What is refused before anybody is asked.


def code(response: httpx.Response) -> tuple[int, str, str | None]:
    """Return what a client reads of an error."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"], error["param"]


async def test_without_credits_it_is_402(door: Door) -> None:
    door.calling.account = await door.calling.accounts.open(3, project_id=door.calling.project)
    assert code(await door.ask()) == (402, "insufficient_credits", None)
    assert door.requests == 0


async def test_beyond_a_limit_it_is_429(door: Door) -> None:
    await door.calling.sell(PlanFeatureTerms("summary", per_minute=1, any_model=True), [])
    await door.ask()
    response = await door.ask()
    assert code(response) == (429, "rate_limit_exceeded", None)
    assert int(response.headers["retry-after"]) >= 1


async def test_what_the_plan_does_not_open_is_told(door: Door) -> None:
    assert code(await door.ask(model="third")) == (404, "model_not_found", "model")
    response = await door.client.post(
        "/v1/chat/completions",
        json=door.chat(),
        headers=door.headers(**{"X-Exchequer-Feature": "poetry"}),
    )
    assert code(response) == (403, "feature_not_found", None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"n": 129}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
    ],
)
async def test_what_cannot_be_asked_is_400(door: Door, body: dict[str, Any], param: str) -> None:
    assert code(await door.ask(**body)) == (400, "invalid_value", param)
    assert door.requests == 0


@pytest.mark.parametrize("body", [b"{", b"[]", b'"hello"', b"\xff", b""])
async def test_what_is_no_object_is_400(door: Door, body: bytes) -> None:
    response = await door.client.post("/v1/chat/completions", content=body, headers=door.headers())
    assert code(response) == (400, "bad_request", None)


@pytest.mark.parametrize("changed", [{"inference_body_bytes": 2_000}])
async def test_what_is_too_large_is_413(door: Door) -> None:
    assert code(await door.ask("x" * 2_000)) == (413, "payload_too_large", None)


async def test_who_is_not_known_is_401(door: Door) -> None:
    for sent in ("Bearer exq_p_unknown", "Basic abc", "?"):
        headers = door.headers(Authorization=sent)
        response = await door.client.post("/v1/chat/completions", json=door.chat(), headers=headers)
        assert code(response) == (401, "invalid_api_key", None)


async def test_other_paths_and_methods_are_told(door: Door) -> None:
    response = await door.client.get("/v1/assistants", headers=door.headers())
    assert code(response) == (404, "unknown_url", None)
    response = await door.client.get("/v1/chat/completions", headers=door.headers())
    assert code(response) == (405, "method_not_allowed", None)
    assert response.headers["allow"] == "POST"


async def test_a_project_key_names_an_organization_of_its_project(door: Door) -> None:
    headers = door.headers()
    del headers["OpenAI-Organization"]
    response = await door.client.post("/v1/chat/completions", json=door.chat(), headers=headers)
    assert code(response) == (400, "invalid_value", "OpenAI-Organization")
    stranger = await door.calling.accounts.open(10)
    headers["OpenAI-Organization"] = str(stranger)
    response = await door.client.post("/v1/chat/completions", json=door.chat(), headers=headers)
    assert response.status_code == 404
    assert door.requests == 0


# Once for a key.


async def test_the_same_key_asks_the_provider_once(door: Door) -> None:
    headers = door.headers(**{"Idempotency-Key": "k"})
    body = door.chat("hello after=0.3")
    answers = await asyncio.gather(
        *(door.client.post("/v1/chat/completions", json=body, headers=headers) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert door.requests == 1
    again = await door.client.post("/v1/chat/completions", json=body, headers=headers)
    assert code(again) == (409, "duplicate_request", None)
    assert await door.charged() == door.cost()


async def test_models_are_those_that_can_be_asked(door: Door) -> None:
    await door.calling.catalog.upsert_model(door.calling.project, OTHER._replace(key="dear/third"))
    listed = await door.client.get("/v1/models", headers=door.headers())
    assert [each["id"] for each in listed.json()["data"]] == ["other", "small"]
    one = await door.client.get("/v1/models/small", headers=door.headers())
    assert one.json()["owned_by"] == "openai"
    none = await door.client.get("/v1/models/dear/third", headers=door.headers())
    assert code(none) == (404, "model_not_found", "model")
