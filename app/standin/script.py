"""How the stand-in answers: told by the last message of a request, in words of its own.

`tokens=12 chunk=4 usage=none cut=3 status=500 after=0.5 pause=0.01 cached=5 key=a`: each word is
optional, and the rest of the message does not matter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

_WORD: Final = re.compile(r"\b([a-z]+)=([A-Za-z0-9_.-]+)")
_KINDS: Final[Mapping[str, Callable[[str], object]]] = {
    **dict.fromkeys(("tokens", "chunk", "cut", "status", "cached", "fails"), int),
    **dict.fromkeys(("retry", "after", "pause"), float),
    **dict.fromkeys(("usage", "form", "begin", "bound"), str),
}
_WORDS: Final = (
    "Credits", "are", "reserved", "before", "a", "model", "is", "asked", "and", "what", "it",
    "used", "is", "charged", "when", "it", "has", "answered",
)  # fmt: skip

_ROLE: Final = (
    b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""},'
    b' "finish_reason": null}]}\n\n'
)
_BEGINNINGS: Final[Mapping[str, Sequence[bytes]]] = {
    "none": (),
    "comment": (b": one moment\n\n", _ROLE),
    "role": (_ROLE,),
    "error": (_ROLE, b'data: {"error": {"message": "too busy", "code": 503}}\n\n'),
}


@dataclass(frozen=True, slots=True)
class Script:
    """What one answer is to be."""

    # Of the answer, for each choice.
    tokens: int = 18
    # In each piece of a stream.
    chunk: int = 1
    # true, none, zero, twice, growing, absurd or wrong.
    usage: str = "true"
    # Breaks off after so many pieces of a stream; of a whole answer, in the middle.
    cut: int | None = None
    status: int = 200
    retry: float | None = None
    # Seconds before anything is said, and between pieces.
    after: float = 0.0
    pause: float = 0.0
    # Of the prompt, read from a cache.
    cached: int = 0
    # So many requests with this message fail first.
    fails: int = 0
    # Where a form is asked for: true, or bad for words instead.
    form: str = "true"
    # What a stream sends before it says anything: comment, role, or error.
    begin: str = "none"
    # How much it may say: kept, or ignored.
    bound: str = "kept"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Script":
        """Return what a request asks for."""
        told = dict(_WORD.findall(_last(body)))
        values: dict[str, Any] = {
            name: kind(told[name]) for name, kind in _KINDS.items() if name in told
        }
        return cls(**values)

    @property
    def beginning(self) -> Sequence[bytes]:
        """The events of a stream before it says anything."""
        return _BEGINNINGS[self.begin]

    def words(self, most: int | None) -> list[str]:
        """Return what it says: a word a token, no more than it may."""
        if self.bound == "ignored":
            most = None
        number = self.tokens if most is None else min(self.tokens, most)
        return [f" {_WORDS[at % len(_WORDS)]}" for at in range(number)]

    def formed(self, schema: Mapping[str, Any] | None, most: int | None) -> str | None:
        """Return JSON of the form that was asked for; None if words are to be said instead."""
        if not schema or self.form == "bad":
            return None
        return orjson.dumps(_value(schema, "".join(self.words(most)).strip())).decode()


def _value(schema: Mapping[str, Any], words: str) -> object:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: _value(field, words) for name, field in fields.items()}
        case "array":
            return [_value(schema.get("items", {}), f"{words} {number}") for number in range(1, 4)]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return words


def _last(body: Mapping[str, Any]) -> str:
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        content = messages[-1].get("content")
        if isinstance(content, list):
            return " ".join(str(part.get("text", "")) for part in content)
        return str(content)
    return str(body.get("prompt", body.get("input", "")))


def most_of(body: Mapping[str, Any]) -> int | None:
    """Return how much a request lets it say."""
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(body.get(name), int):
            return int(body[name])
    return None
