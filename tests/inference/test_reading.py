"""What is read of answers: events cut anywhere, usage in all its forms, tokens of prompts."""

import random
from typing import Any

import pytest

from app.inference.sse import EVENT_BYTES, Events, TooLong, data_of
from app.inference.tokens import Tokens
from app.inference.usage import Usage, usage_of
from app.inference.written import tokens_of

SAID = (
    b": a comment\n\n"
    b'data: {"text": "\xe2\x82\xac 5"}\n\n'
    b"event: more\r\ndata: one\r\ndata: two\r\n\r\n"
    b"data:tight\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [None, '{"text": "\N{EURO SIGN} 5"}'.encode(), b"one\ntwo", b"tight", b"[DONE]"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_events_are_whole_wherever_they_are_cut(size: int) -> None:
    events = Events()
    pieces = [SAID[at : at + size] for at in range(0, len(SAID), size)]
    found = [event for piece in pieces for event in events.feed(piece)]
    assert b"".join(found) == SAID
    assert [data_of(event) for event in found] == EVENTS
    assert events.rest() == b""


def test_events_cut_at_random_are_whole() -> None:
    dice = random.Random(7)
    for _ in range(300):
        events, at = Events(), 0
        found: list[bytes] = []
        while at < len(SAID):
            size = dice.randint(1, 12)
            found += events.feed(SAID[at : at + size])
            at += size
        assert [data_of(event) for event in found] == EVENTS


def test_an_event_that_is_cut_off_is_told_and_one_without_end_is_not_kept() -> None:
    events = Events()
    assert list(events.feed(b"data: 1\n\ndata: 2")) == [b"data: 1\n\n"]
    assert events.rest() == b"data: 2"
    with pytest.raises(TooLong):
        list(events.feed(b"x" * EVENT_BYTES))


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, Usage(5, 0, 7)),
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 0, 7)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5, 0, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 3},
            },
            Usage(5, 3, 7),
        ),
        # No more was cached than was read.
        ({"input_tokens": 5, "input_tokens_details": {"cached_tokens": 9}}, Usage(5, 5, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": None}}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": "none"}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "completion_tokens": -1}, Usage(5, 0, 10**18)),
        ({}, None),
        ({"prompt_tokens": True, "completion_tokens": "7"}, None),
        ({"prompt_tokens": 1.5}, None),
        (None, None),
        ("5", None),
    ],
)
def test_usage_is_read_as_it_is_told(told: object, usage: Usage | None) -> None:
    assert usage_of(told) == usage


async def test_prompts_are_counted_rather_too_many_than_too_few() -> None:
    tokens = Tokens()
    counter = await tokens.counter()
    text = "The quick brown fox jumps over the lazy dog. " * 20

    async def count(**body: Any) -> int:
        return await tokens.of_prompt(body)

    truth = counter.of(text)
    said = {"role": "user", "content": text}
    one = await count(messages=[said])
    assert truth < one < 1.3 * truth + 50
    assert await count(messages=[said, said]) > 1.9 * one - 50
    parts = [{"type": "text", "text": text}]
    assert truth < await count(messages=[{"role": "user", "content": parts}]) < one + 20
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert (
        one + 2_000
        < await count(messages=[said, {"role": "user", "content": [picture]}])
        < (one + 4_000)
    )
    tool = {"type": "function", "function": {"name": "say", "description": text}}
    assert await count(messages=[said], tools=[tool]) > 1.9 * one - 50
    assert await count(prompt=text) > truth
    assert await count(prompt=[text, text]) > 2 * truth
    assert await count(prompt=[1, 2, 3]) == await count(prompt=[[1, 2, 3]]) > 3
    assert await count(input=[text]) > truth
    assert await count(messages="none", prompt=5, input={}) > 0
    assert await count(messages=[5, None, {"content": 5}, {"content": [5, {"type": 5}]}]) > 0


async def test_a_long_prompt_is_counted_in_pieces() -> None:
    tokens = Tokens()
    text = "x" * 300_000
    counted = await tokens.of_prompt({"prompt": text})
    assert len(text) / 16 < counted < len(text)


async def test_what_is_written_is_counted_wherever_it_stands() -> None:
    counter = await Tokens().counter()
    for choice in (
        {"text": " hello there"},
        {"delta": {"content": " hello there"}},
        {"delta": {"refusal": " hello there"}},
        {"delta": {"reasoning_content": " hello there"}},
        {"message": {"content": [{"type": "text", "text": " hello there"}]}},
        {"delta": {"tool_calls": [{"function": {"name": " hello", "arguments": " there"}}]}},
        {"message": {"function_call": {"arguments": " hello there"}}},
    ):
        assert tokens_of({"choices": [choice]}, counter) == 2
    silent: list[dict[str, Any]] = [
        {},
        {"choices": None},
        {"choices": [None, {"delta": None}, {"delta": {}}]},
    ]
    for nothing in silent:
        assert tokens_of(nothing, counter) == 0
