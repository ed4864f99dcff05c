"""Whether what Postgres answers is what the model expects, to the last field."""

from dataclasses import fields, is_dataclass
from typing import Any
from uuid import UUID

from app.core.refusals import Refusal
from tests.proof.model.shapes import Grant, Refused, Reservation


class Mismatch(AssertionError):  # noqa: N818  # named for what it is
    """The two differ."""


def same(expected: Any, actual: Any, path: str = "answer") -> None:
    """Compare; the model learns the ids of what is new."""
    if isinstance(expected, Grant | Reservation):
        if expected.id is None and isinstance(actual, UUID):
            expected.id = actual
        _equal(expected.id, actual, path)
    elif isinstance(expected, Refused):
        told = (actual.code, dict(actual.facts)) if isinstance(actual, Refusal) else actual
        _equal((expected.code, named(expected.facts)), told, path)
    elif is_dataclass(expected) and type(expected) is type(actual):
        for field in fields(expected):
            name = field.name
            same(getattr(expected, name), getattr(actual, name), f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for place, (one, other) in enumerate(zip(expected, actual, strict=True)):
            same(one, other, f"{path}[{place}]")
    else:
        _equal(named(expected) if isinstance(expected, dict) else expected, actual, path)


def _equal(expected: Any, actual: Any, path: str) -> None:
    if expected != actual:
        raise Mismatch(f"{path}: expected {expected}, got {actual}")


def named(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with the ids of what they name."""
    return {
        name: str(fact.id) if isinstance(fact, Grant | Reservation) else fact
        for name, fact in facts.items()
    }
