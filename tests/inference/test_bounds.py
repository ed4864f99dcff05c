"""What an answer may have, and what is no answer yet: whatever a provider makes of either."""

from typing import Any
from uuid import uuid4

import pytest

from app.core.refusals import Refusal
from app.inference.asked import Asked, Kind
from app.inference.usage import Usage, usage_of
from tests.inference.conftest import Door


def asked(**body: Any) -> Asked:
    kind = Kind.COMPLETION if "prompt" in body else Kind.CHAT
    return Asked(uuid4(), kind, {"model": "small", "messages": [{}], **body}, "k", "summary")


@pytest.mark.parametrize(
    ("told", "most", "sent"),
    [
        ({}, None, {}),
        ({}, 40, {"max_completion_tokens": 40}),
        ({"max_tokens": 7}, 40, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 70}, 40, {"max_completion_tokens": 40}),
        ({"max_tokens": 7, "max_completion_tokens": 9}, None, {"max_completion_tokens": 7}),
        # No bound of this protocol: it passes, and bounds nothing.
        ({"max_output_tokens": 1}, 40, {"max_output_tokens": 1, "max_completion_tokens": 40}),
    ],
)
def test_a_bound_goes_by_the_name_that_its_provider_reads(
    told: dict[str, Any], most: int | None, sent: dict[str, int]
) -> None:
    body = asked(**told).body_for("small-1", most, "max_completion_tokens")
    assert {name: value for name, value in body.items() if name.startswith("max_")} == sent
    assert body["model"] == "small-1"


def test_the_older_protocol_has_one_name_for_it() -> None:
    request = asked(prompt="a", max_tokens=9)
    assert request.body_for("small-1", 5, "max_completion_tokens")["max_tokens"] == 5


def test_the_lower_of_two_bounds_is_reserved_for() -> None:
    assert asked(max_tokens=7, max_completion_tokens=9).output_tokens == 7
    assert asked(max_output_tokens=7).output_tokens is None


@pytest.mark.parametrize("model", ["a\0", "x" * 256, 7, ["small"]])
def test_what_can_be_no_model_is_refused(model: object) -> None:
    with pytest.raises(Refusal) as refused:
        _ = asked(model=model).model
    assert refused.value.facts["field"] == "model"


async def test_a_model_that_is_none_is_refused_whole(door: Door) -> None:
    response = await door.ask("hello", model="a\0")
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "model"
    assert door.requests == 0


def _said(part: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "text", "text": "audio/"}, part]}]


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"service_tier": "Priority"}, "service_tier"),
        ({"service_tier": ["auto"]}, "service_tier"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": "audio"}, "modalities"),
        ({"modalities": ["image"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages"),
        ({"messages": _said({"type": "input_audio", "input_audio": {"data": ""}})}, "messages"),
        ({"messages": _said({"type": "image_url", "image_url": "DATA:audio/mp3,"})}, "messages"),
        ({"messages": _said({"type": "file", "file": {"format": "audio/wav"}})}, "messages"),
    ],
)
async def test_what_has_a_price_that_is_not_kept_here_is_refused(
    door: Door, told: dict[str, Any], field: str
) -> None:
    for body in (door.chat(**told), door.chat(stream=True, **told)):
        response = await door.client.post("/v1/chat/completions", json=body, headers=door.headers())
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, field)
        assert error["code"] == "invalid_value"
        assert error["message"].endswith("no price here.")
    assert (door.requests, await door.calls(), await door.reserved()) == (0, [], 0)


@pytest.mark.parametrize(
    "told",
    [
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"service_tier": "flex"},
        {"service_tier": None, "modalities": ["text"], "audio": None},
        {"messages": _said({"type": "image_url", "image_url": {"url": "data:image/png,"}})},
        {"messages": _said({"type": ["input_audio"]})},
        {"messages": [None, "audio", {"content": ["audio/", None]}]},
    ],
)
def test_what_costs_no_more_than_its_price_passes(told: dict[str, Any]) -> None:
    asked(**told).check()


async def test_vectors_are_of_a_model_that_is_named(door: Door) -> None:
    response = await door.client.post(
        "/v1/embeddings", json={"input": "a", "model": "auto"}, headers=door.headers()
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "model")


async def test_what_is_no_bound_here_lets_nothing_be_written_unpaid(door: Door) -> None:
    response = await door.ask("hello tokens=40", max_tokens=None, max_output_tokens=1)
    assert response.json()["usage"]["completion_tokens"] == 40
    assert (await door.call())["output_limit"] >= 40
    assert (await door.charged(), await door.reserved()) == (door.cost(), 0)


async def test_a_stream_that_does_not_keep_to_its_bound_is_ended(door: Door) -> None:
    *_, last = await door.stream("hello tokens=4000 bound=ignored pause=0.001", max_tokens=20)
    assert last == "[DONE]"
    call = await door.call()
    assert (call["outcome"], call["usage_estimated"]) == ("length", True)
    assert 20 <= call["output_tokens"] <= 20 + 16
    assert await door.reserved() == 0


@pytest.mark.parametrize("begin", ["comment", "role"])
async def test_what_comes_before_an_answer_is_passed_on_with_it(door: Door, begin: str) -> None:
    *pieces, _ = await door.stream(f"hello tokens=3 begin={begin}")
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
    assert said == " Credits are reserved"
    assert (await door.charged(), await door.reserved()) == (door.cost(), 0)


async def test_an_error_that_comes_first_is_no_answer(door: Door) -> None:
    """Another model is asked; where none answers nothing is charged."""
    response = await door.ask("hello begin=error", stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_error")
    assert door.requests >= 2
    assert (await door.charged(), await door.reserved()) == (0, 0)


@pytest.mark.parametrize(
    ("status", "told", "code"),
    # Our account there is empty; the model is there no more.
    [(402, 503, "provider_unavailable"), (404, 502, "provider_error")],
)
async def test_what_is_between_us_and_a_provider_is_no_fault_of_who_asked(
    door: Door, status: int, told: int, code: str
) -> None:
    response = await door.ask(f"hello status={status}")
    assert (response.status_code, response.json()["error"]["code"]) == (told, code)
    assert door.requests >= 2
    assert (await door.charged(), await door.reserved()) == (0, 0)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, Usage(7, 0, 5)),
        # What was thought stands in the total alone.
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 40}, Usage(7, 0, 33)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 0}, Usage(7, 0, 5)),
        ({"prompt_tokens": 2**70, "completion_tokens": 2**70}, Usage(10**18, 0, 10**18)),
        ({"prompt_tokens": -(2**70), "completion_tokens": 1}, Usage(10**18, 0, 1)),
    ],
)
def test_usage_is_read_as_a_number_that_can_be_charged_or_refused(
    told: dict[str, int], usage: Usage
) -> None:
    assert usage_of(told) == usage
