"""What of an answer counts as written: texts and calls of tools, in whole answers and in pieces."""

from collections.abc import Iterator, Mapping
from typing import Any

from app.inference.tokens import Counter


def tokens_of(answer: Mapping[str, Any], counter: Counter) -> int:
    """Return how many tokens the choices of an answer, or of a piece of one, come to.

    A piece that says anything is at least one token.
    """
    written = 0
    for text in _texts(answer):
        written += counter.of(text)
    return written


def _texts(answer: Mapping[str, Any]) -> Iterator[str]:
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, Mapping):
            continue
        yield from _said(choice.get("text"))
        for part in (choice.get("delta"), choice.get("message")):
            if isinstance(part, Mapping):
                for name in ("content", "refusal", "reasoning_content", "reasoning"):
                    yield from _said(part.get(name))
                yield from _tools(part)


def _tools(part: Mapping[str, Any]) -> Iterator[str]:
    calls = part.get("tool_calls")
    functions = [
        call.get("function") for call in (calls if isinstance(calls, list) else ()) if call
    ]
    functions.append(part.get("function_call"))
    for function in functions:
        if isinstance(function, Mapping):
            yield from _said(function.get("name"))
            yield from _said(function.get("arguments"))


def _said(value: object) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, list):
        # Content in parts.
        for part in value:
            if isinstance(part, Mapping):
                yield from _said(part.get("text"))


def finish_reason(answer: Mapping[str, Any]) -> str | None:
    """Return why an answer ended, if it says so."""
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and isinstance(choice.get("finish_reason"), str):
            return str(choice["finish_reason"])
    return None
