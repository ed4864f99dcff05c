"""Answers piece by piece: passed on, reserved ahead, charged, ended in order."""

import asyncio
from typing import Any

import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms
from app.core.units import show_credits
from tests.inference.conftest import Door
from tests.inference.test_whole_answers import alone, broken
from tests.support.accounts import CREDIT
from tests.support.catalogs import PLAN
from tests.support.live import until


def text(events: list[Any]) -> str:
    """Return what a stream said."""
    chunks = [event for event in events if event != "[DONE]"]
    return "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]
    )


async def test_a_stream_passes_on_and_is_charged(door: Door) -> None:
    events = await door.stream("hello tokens=9 chunk=2")
    assert text(events) == " Credits are reserved before a model is asked and"
    assert events[-1] == "[DONE]"
    # Who did not ask for the usage does not get it.
    assert all(event["choices"] for event in events[:-1])
    call = await door.call()
    assert (call["state"], call["outcome"], call["output_tokens"]) == ("settled", "complete", 9)
    assert (call["is_stream"], call["usage_estimated"]) == (True, False)
    assert (await door.charged(), await door.reserved()) == (door.cost(), 0)


async def test_who_asks_for_the_usage_is_told_what_it_cost(door: Door) -> None:
    events = await door.stream("hello tokens=3", stream_options={"include_usage": True})
    assert events[-2]["choices"] == []
    assert events[-2]["id"] == events[0]["id"]
    assert events[-2]["usage"] == {
        "prompt_tokens": door.truth().read,
        "completion_tokens": 3,
        "total_tokens": door.truth().read + 3,
        "prompt_tokens_details": {"cached_tokens": 0},
        "credits_used": show_credits(door.cost()),
    }


@pytest.mark.parametrize(
    ("usage", "written", "is_estimated"),
    [("twice", 12, False), ("growing", 12, False), ("zero", 0, False), ("none", 12, True)],
)
async def test_what_is_said_of_usage_counts_once(
    door: Door, usage: str, written: int, *, is_estimated: bool
) -> None:
    await door.stream(f"hello tokens=12 chunk=3 usage={usage}")
    call = await door.call()
    assert (call["output_tokens"], call["usage_estimated"]) == (written, is_estimated)
    if not is_estimated:
        expected = 0 if usage == "zero" else door.cost()
        assert await door.charged() == expected


async def test_it_is_charged_before_its_last_event(door: Door) -> None:
    body = door.chat("hello tokens=2", stream=True)
    async with door.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=door.headers()
    ) as response:
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                assert (await door.call())["state"] == "settled"
                return
    raise AssertionError("it never ended")


# More is reserved as it goes on.

SMALL_BLOCKS = [{"stream_block_tokens": 20, "stream_margin_tokens": 4}]


@pytest.mark.parametrize("changed", SMALL_BLOCKS)
async def test_more_is_reserved_ahead(door: Door) -> None:
    body = door.chat("hello tokens=100 pause=0.005", stream=True)
    held = []
    async with door.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=door.headers()
    ) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                call = await door.call()
                held.append(call["reserved_tokens"])
    assert held[0] == 8
    assert held == sorted(held)
    # What is passed on is reserved for, all the way.
    assert all(tokens > number for number, tokens in enumerate(held[:100]))
    assert await door.charged() == door.cost()


@pytest.mark.parametrize("changed", SMALL_BLOCKS)
@pytest.mark.parametrize("chunk", [1, 3, 4])
async def test_it_ends_in_order_where_the_credits_do(door: Door, chunk: int) -> None:
    said = f"hello tokens=300 chunk={chunk} pause=0.001"
    await door.stream(said, max_tokens=1)
    prompt = (await door.call())["prompt_tokens"]
    credits = prompt + 4 * 50 + 3
    account = door.calling.account = await door.calling.accounts.open(
        credits, project_id=door.calling.project
    )
    events = await door.stream(said)
    assert events[-1] == "[DONE]"
    # An end as of a model that was cut short, and what it came to.
    assert events[-3]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    usage = events[-2]["usage"]
    assert usage["is_estimated"] is True
    written = text(events).count(" ")
    assert usage["completion_tokens"] == written
    # One piece early at most: a margin is left.
    assert 50 - 4 - chunk <= written <= 50
    call = (await door.calls())[-1]
    assert (call["outcome"], call["output_tokens"]) == ("credits", written)
    assert await door.charged() == (prompt + 4 * written) * CREDIT
    row = await door.calling.admin.fetchrow(
        "select available, reserved, overage from credits.accounts where account_id = $1", account
    )
    assert dict(row or {}) == {
        "available": (credits - prompt - 4 * written) * CREDIT,
        "reserved": 0,
        "overage": 0,
    }


@pytest.mark.parametrize("changed", SMALL_BLOCKS)
async def test_where_the_plan_lets_it_it_runs_on_into_debt(door: Door) -> None:
    await door.calling.sell(plan=PLAN._replace(streams_stop=False))
    door.calling.account = await door.calling.accounts.open(150, project_id=door.calling.project)
    events = await door.stream("hello tokens=60")
    assert text(events).count(" ") == 60
    assert await door.charged() == door.cost()
    overage = await door.calling.admin.fetchval(
        "select overage from credits.accounts where account_id = $1", door.calling.account
    )
    assert overage == door.cost() - 150 * CREDIT


# Who leaves.


@pytest.mark.parametrize("pieces", [1, 2, 5, 9])
async def test_who_leaves_is_charged_for_what_was_written(door: Door, pieces: int) -> None:
    body = door.chat("hello tokens=10 chunk=2 pause=0.05", stream=True)
    seen = 0
    async with door.client.stream(
        "POST", "/v1/chat/completions", json=body, headers=door.headers()
    ) as response:
        async for line in response.aiter_lines():
            seen += line.startswith("data: {")
            if seen == min(pieces, 5):
                break
    await until(lambda: closed(door))
    call = await door.call()
    assert (call["state"], call["outcome"], call["usage_estimated"]) == ("settled", "left", True)
    # What was on its way by then is perhaps one piece more.
    assert 2 * min(pieces, 5) <= call["output_tokens"] <= 2 * min(pieces, 5) + 2
    assert await door.charged() == (call["prompt_tokens"] + 4 * call["output_tokens"]) * CREDIT
    assert await door.reserved() == 0


async def closed(door: Door) -> bool:
    """Whether all calls have ended."""
    return all(call["state"] in ("settled", "released") for call in await door.calls())


# What providers do instead.


async def test_before_the_first_piece_another_model_stands_in(door: Door) -> None:
    await broken(door)
    events = await door.stream("hello tokens=3", model="auto")
    assert events[-1] == "[DONE]"
    assert (await door.call())["model"] == "other"


async def test_before_the_first_piece_it_fails_as_a_whole_answer_does(door: Door) -> None:
    await alone(door)
    response = await door.ask("hello status=500", stream=True)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "provider_error"
    assert (await door.charged(), await door.reserved()) == (0, 0)


async def test_what_broke_off_is_charged_and_told(door: Door) -> None:
    await alone(door)
    events = await door.stream("hello tokens=10 chunk=2 cut=3")
    assert events[-1]["error"]["code"] == "provider_error"
    call = await door.call()
    assert (call["outcome"], call["output_tokens"], call["usage_estimated"]) == (
        "failed",
        6,
        True,
    )
    # Nobody is asked twice once something was said.
    assert door.requests == 1
    assert await door.reserved() == 0


# What cannot be charged at once.


async def test_a_charge_that_must_wait_is_made_later(door: Door) -> None:
    asking = asyncio.create_task(door.ask("hello after=1 tokens=5"))
    await until(lambda: asked(door))
    async with door.calling.admin.transaction():
        await door.calling.admin.execute(
            "select from credits.accounts where account_id = $1 for update", door.calling.account
        )
        # Longer than a function waits for a lock: the answer comes all the same.
        response = await asking
        assert response.status_code == 200
        assert "x-exchequer-credits" not in response.headers
        await until(lambda: stands(door, "answered"))
        assert await door.charged() == 0
    await until(lambda: stands(door, "settled"))
    assert (await door.call())["usage_estimated"] is False
    assert await door.charged() == door.cost()


async def asked(door: Door) -> bool:
    return door.requests == 1


async def stands(door: Door, state: str) -> bool:
    return bool((await door.call())["state"] == state)


# The official client.


async def test_the_official_client_reads_all_of_it(door: Door) -> None:
    client = door.official
    whole = await client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "tokens=4"}], user="w"
    )
    assert whole.choices[0].message.content == " Credits are reserved before"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4
    pieces = await client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": "tokens=4"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in pieces]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    listed = [model.id async for model in client.models.list()]
    assert listed == ["other", "small"]
    vectors = await client.embeddings.create(model="small", input=["a", "b"])
    assert len(vectors.data) == 2
    await client.close()


async def test_the_official_client_raises_what_it_should(door: Door) -> None:
    from openai import APIStatusError, NotFoundError, PermissionDeniedError, RateLimitError

    client = door.official

    async def ask(model: str = "small") -> None:
        await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=400
        )

    with pytest.raises(NotFoundError) as missing:
        await ask("third")
    assert missing.value.code == "model_not_found"
    levels = [PlanLevelTerms("summary", "fast", ["small"])]
    await door.calling.sell(PlanFeatureTerms("summary", per_day=0), levels)
    with pytest.raises(RateLimitError):
        await ask()
    await door.calling.sell(PlanFeatureTerms("summary", is_enabled=False), levels)
    with pytest.raises(PermissionDeniedError):
        await ask()
    await door.calling.sell()
    door.calling.account = await door.calling.accounts.open(1, project_id=door.calling.project)
    await client.close()
    client = door.official
    with pytest.raises(APIStatusError) as short:
        await ask()
    assert (short.value.status_code, short.value.code) == (402, "insufficient_credits")
    await client.close()
