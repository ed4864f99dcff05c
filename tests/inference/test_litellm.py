"""Models whose provider speaks a protocol of its own: asked through litellm, charged the same."""

from typing import Any

import openai
import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.standin import StandIn
from tests.inference.conftest import Door
from tests.inference.test_streams import closed
from tests.support.catalogs import MODEL
from tests.support.live import until
from tests.support.model_calls import DEAR

CLAUDE = MODEL._replace(
    provider="anthropic", provider_model_id="claude-sonnet-4-5", max_output_tokens=5_000
)


@pytest.fixture(scope="module")
def providers(standin: StandIn) -> dict[str, dict[str, str]]:
    """Return one that speaks Anthropic's protocol, beside the usual one."""
    return {
        "openai": {"api_key": standin.key, "base_url": standin.base_url},
        "anthropic": {
            "api_key": standin.key,
            "base_url": standin.origin,
            "protocol": "litellm",
        },
    }


@pytest.fixture(autouse=True)
async def _spoken_to(door: Door) -> None:
    await door.calling.catalog.upsert_model(door.calling.project, CLAUDE, DEAR)


async def alone(door: Door) -> None:
    """Let nobody stand in."""
    levels = [PlanLevelTerms("summary", "fast", ["small"])]
    await door.calling.sell(PlanFeatureTerms("summary"), levels)


async def test_a_whole_answer(door: Door) -> None:
    response = await door.ask("hello tokens=7 cached=2")
    assert response.status_code == 200
    told = response.json()
    assert told["object"] == "chat.completion"
    [choice] = told["choices"]
    assert choice["message"]["content"].split() == (
        ["Credits", "are", "reserved", "before", "a", "model", "is"]
    )
    assert choice["finish_reason"] == "stop"
    truth = door.truth()
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (truth.read, 7)
    assert (truth.model, truth.cached) == ("claude-sonnet-4-5", 2)
    assert (await door.charged(), await door.reserved()) == (door.cost(), 0)
    assert (await door.call())["usage_estimated"] is False


async def test_a_bound_is_kept(door: Door) -> None:
    told = (await door.ask("hello tokens=50", max_tokens=10)).json()
    assert told["choices"][0]["finish_reason"] == "length"
    assert (await door.call())["outcome"] == "length"
    assert await door.charged() == door.cost()


async def test_a_stream(door: Door) -> None:
    *events, last = await door.stream(
        "hello tokens=40 chunk=4", stream_options={"include_usage": True}
    )
    assert last == "[DONE]"
    *pieces, usage = events
    said = "".join(
        choice["delta"].get("content") or "" for piece in pieces for choice in piece["choices"]
    )
    assert len(said.split()) == 40
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 40
    assert all("usage" not in piece for piece in pieces)
    assert door.truth().is_whole
    assert (await door.charged(), await door.reserved()) == (door.cost(), 0)
    assert (await door.call())["usage_estimated"] is False


async def test_a_stream_ends_where_the_credits_do(door: Door) -> None:
    door.calling.account = await door.calling.accounts.open(300, project_id=door.calling.project)
    events = await door.stream("hello tokens=2000 pause=0.001", max_tokens=None)
    assert events[-1] == "[DONE]"
    assert events[-3]["choices"][0]["finish_reason"] == "length"
    call = await door.call()
    assert (call["outcome"], call["usage_estimated"]) == ("credits", True)
    assert not door.truth().is_whole
    assert 0 < await door.charged() <= 300_000_000
    assert await door.reserved() == 0


async def test_tools_pass_through(door: Door) -> None:
    tool = {"type": "function", "function": {"name": "say", "parameters": {"type": "object"}}}
    told = (await door.ask("hello", tools=[tool])).json()
    [call] = told["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "say"
    assert told["choices"][0]["finish_reason"] == "tool_calls"
    events = await door.stream("hello tokens=5", user="v", tools=[tool])
    written = "".join(
        call["function"].get("arguments") or ""
        for event in events[:-1]
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    )
    assert written.startswith('{"say":')


@pytest.mark.parametrize(
    "more",
    [
        {"api_base": "http://127.0.0.1:9/"},
        {"base_url": "http://127.0.0.1:9/"},
        {"api_key": "another"},
        {"mock_response": "for nothing"},
        {"custom_llm_provider": "openai"},
        {"extra_headers": {"x-api-key": "another"}},
        {"fallbacks": ["gpt-5"]},
    ],
)
async def test_nobody_turns_it_elsewhere(door: Door, more: dict[str, Any]) -> None:
    """litellm takes addresses, keys and more for itself, by names of its own."""
    await alone(door)
    response = await door.ask(**more)
    assert response.status_code == 400
    [name] = more
    error = response.json()["error"]
    assert error["message"] == f"{name} is nothing that anthropic can be told here"
    assert error["param"] == name
    assert door.requests == 0
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_what_an_image_points_to_is_not_fetched(door: Door) -> None:
    await alone(door)
    image = {"type": "image_url", "image_url": {"url": f"{door.standin.origin}/secret.png"}}
    response = await door.client.post(
        "/v1/chat/completions",
        json={**door.chat(), "messages": [{"role": "user", "content": [image]}]},
        headers=door.headers(),
    )
    assert response.status_code >= 400
    assert door.requests == 0
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_what_is_not_translated_is_refused(door: Door) -> None:
    await alone(door)
    response = await door.ask(frequency_penalty=1)
    assert response.status_code == 400
    assert "frequency_penalty" in response.json()["error"]["message"]
    assert door.requests == 0
    assert await door.reserved() == 0


@pytest.mark.parametrize(
    ("said", "status", "code", "requests"),
    [
        ("hello status=400", 400, None, 1),
        ("hello status=429 retry=30", 503, "provider_error", 1),
        ("hello status=500", 502, "provider_error", 2),
        ("hello status=529 retry=30", 503, "provider_error", 1),
        ("hello status=401", 503, "provider_unavailable", 1),
    ],
)
async def test_failures(
    door: Door, said: str, status: int, code: str | None, requests: int
) -> None:
    await alone(door)
    response = await door.ask(said)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    if status == 400:
        assert response.json()["error"]["message"] == "told to answer 400"
    if "retry" in said:
        assert response.headers["retry-after"] == "30"
    assert door.requests == requests
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_another_provider_stands_in(door: Door) -> None:
    response = await door.ask("hello tokens=9", model="auto", user="w")
    assert response.status_code == 200
    response = await door.ask("hello tokens=9 fails=1", model="auto")
    call = (await door.calls())[-1]
    assert (call["model"], call["provider"], call["attempt"]) == ("other", "openai", 2)


async def test_a_stream_that_breaks_off_is_charged_for_what_was_written(door: Door) -> None:
    events = await door.stream("hello tokens=30 cut=12 pause=0.001")
    assert events[-1]["error"]["code"] == "provider_error"
    call = await door.call()
    assert (call["outcome"], call["output_tokens"], call["usage_estimated"]) == ("failed", 12, True)
    assert await door.reserved() == 0


@pytest.mark.parametrize("changed", [{"provider_silent_seconds": 0.3}])
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


async def test_who_leaves_is_charged_for_what_was_written(door: Door) -> None:
    body = door.chat("hello tokens=400 pause=0.01", stream=True)
    async with door.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=door.headers()
    ) as response:
        lines = response.aiter_lines()
        while "content" not in await anext(lines):
            pass
    await until(lambda: closed(door))
    call = await door.call()
    assert (call["outcome"], call["usage_estimated"]) == ("left", True)
    assert 1 <= call["output_tokens"] <= door.truth().written < 400


async def test_the_official_client_notices_nothing(door: Door) -> None:
    client = door.official
    try:
        told = await client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "hello tokens=3"}], max_tokens=50
        )
        assert told.choices[0].message.content == " Credits are reserved"
        stream = await client.chat.completions.create(
            model="small",
            messages=[{"role": "user", "content": "hello tokens=6"}],
            max_tokens=50,
            stream=True,
        )
        said = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        assert "".join(each or "" for each in said) == " Credits are reserved before a model"
        with pytest.raises(openai.BadRequestError, match="told to answer 400"):
            await client.chat.completions.create(
                model="small", messages=[{"role": "user", "content": "hello status=400"}]
            )
    finally:
        await client.close()


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_text_comes_piece_by_piece_too(door: Door, *, leaves: bool) -> None:
    await alone(door)
    body = {"model": "small", "prompt": "once tokens=40 pause=0.01", "user": "t", "stream": True}
    async with door.client.stream(
        "POST", "/v1/completions", json={**body, "max_tokens": 90}, headers=door.headers()
    ) as response:
        lines = response.aiter_lines()
        while "Credits" not in await anext(lines):
            pass
        rest = [] if leaves else [line async for line in lines if line]
    await until(lambda: closed(door))
    call = await door.call()
    assert call["outcome"] == ("left" if leaves else "complete")
    assert await door.reserved() == 0
    if not leaves:
        assert rest[-1] == "data: [DONE]"
        assert await door.charged() == door.cost("t")


async def test_it_notes_nothing(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens to litellm is told nothing of what is asked and answered."""
    import litellm  # it takes seconds
    from litellm.integrations.custom_logger import CustomLogger

    told: list[str] = []

    class Listener(CustomLogger):
        def __getattribute__(self, name: str) -> Any:
            if name.startswith(("log_", "async_log_")):
                told.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(litellm, "callbacks", [Listener()])
    await door.ask("hello tokens=7")
    await door.stream("hello tokens=7")
    await alone(door)
    await door.ask("hello status=400")
    assert told == []
    # It would be told, were it not for the log that each call brings.
    monkeypatch.setattr("app.inference.litellm._log_of", lambda *_: None)
    await door.ask("hello tokens=7")
    await until(lambda: "async_log_success_event" in told)
