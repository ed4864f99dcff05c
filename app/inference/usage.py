"""What a provider says that a call used."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# So much is nonsense, and as much as Postgres can be told.
_ABSURD: Final = 10**18


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `cached_input` is part of `input`; `output` has all that is charged as written."""

    input: int
    cached_input: int
    output: int
    is_estimated: bool = False


def usage_of(told: object) -> Usage | None:
    """Return what the `usage` of an answer says; None if it says nothing that can be read.

    An explicit zero is a zero. What is nonsense, such as less than nothing, counts as absurdly
    much: it is refused where it is charged, and held for a person to look at.
    """
    if not isinstance(told, Mapping):
        return None
    read = _number(told, "prompt_tokens", "input_tokens")
    written = _number(told, "completion_tokens", "output_tokens")
    if read is None and written is None:
        return None
    read = read or 0
    total = _number(told, "total_tokens")
    # Some tell what a model thought in the total alone; it is charged as written.
    written = written or 0
    if total is not None:
        written = max(written, min(_ABSURD, total - read))
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details")
    cached = _number(details, "cached_tokens") if isinstance(details, Mapping) else None
    return Usage(read, max(0, min(cached or 0, read)), written)


def _number(told: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = told.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value if 0 <= value <= _ABSURD else _ABSURD
    return None
