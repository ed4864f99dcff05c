"""Scalars of the contract.

`Credits` is a decimal string in credits, exact to the millionth. A JSON number would
pass through binary floats somewhere on its way, so none is taken. So is `Dollars`, exact to
the billionth: what a token costs is less than a millionth.
"""

import re
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, IntValueNode, StringValueNode, ValueNode
from strawberry.types.scalar import ScalarDefinition

from app.core.refusals import invalid
from app.core.units import CREDIT, show_credits

_LARGEST = 10**18
_FORM = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,6}))?", re.ASCII)
_LARGEST_SAFE = 2**53

_DOLLAR = 1_000_000_000
_DOLLARS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?", re.ASCII)

Credits = NewType("Credits", int)
Dollars = NewType("Dollars", int)
Version = NewType("Version", int)


def read_credits(value: object) -> int:
    """Return a decimal string in credits as micro-credits."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _bad('must be a decimal string in credits, such as "12.5"')
    matched = _FORM.fullmatch(str(value))
    if matched is None:
        raise _bad('must be a decimal with at most 6 places, such as "12.5"')
    sign, whole, part = matched.groups()
    microcredits = int(whole) * CREDIT + int((part or "").ljust(6, "0"))
    if microcredits > _LARGEST:
        raise _bad("must be at most 1000000000000")
    return -microcredits if sign else microcredits


def _read_credits_literal(node: ValueNode, _variables: Any = None) -> int:
    if isinstance(node, StringValueNode):
        return read_credits(node.value)
    if isinstance(node, IntValueNode):
        return read_credits(node.value)
    raise _bad('must be a decimal string in credits, such as "12.5"')


def _bad(reason: str) -> GraphQLError:
    refusal = invalid("Credits", reason)
    return GraphQLError(f"Credits {reason}.", extensions={"code": refusal.code, **refusal.facts})


def show_dollars(nanodollars: int) -> str:
    """Return nanodollars as a decimal string in dollars, without trailing zeros."""
    whole, part = divmod(nanodollars, _DOLLAR)
    return str(whole) + (f".{part:09d}".rstrip("0") if part else "")


def read_dollars(value: object) -> int:
    """Return a decimal string in dollars as nanodollars."""
    matched = _DOLLARS.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        reason = 'must be a decimal string with at most 9 places, such as "0.15"'
        refusal = invalid("Dollars", reason)
        raise GraphQLError(f"Dollars {reason}.", extensions={"code": refusal.code, **refusal.facts})
    whole, part = matched.groups()
    return int(whole) * _DOLLAR + int((part or "").ljust(9, "0"))


def read_version(value: object) -> int:
    """Return a version."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST_SAFE:
        raise GraphQLError(
            "Version must be a whole number from 0.", extensions={"code": "VALIDATION_ERROR"}
        )
    return value


def read_instant(value: object) -> datetime:
    """Return an instant, in UTC. Without an offset it would be a guess."""
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise GraphQLError(
            'DateTime must be an instant with its offset, such as "2026-01-31T10:00:00Z".',
            extensions={"code": "VALIDATION_ERROR"},
        )
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise GraphQLError(
            "DateTime must lie in the years 1 to 9999.", extensions={"code": "VALIDATION_ERROR"}
        ) from error


def show_instant(value: datetime) -> str:
    """Return an instant in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


SCALARS: dict[object, ScalarDefinition] = {
    Credits: strawberry.scalar(
        name="Credits",
        description='An amount of credits as a decimal string, exact to the millionth: `"12.5"`.'
        " Input takes such strings and whole numbers.",
        serialize=show_credits,
        parse_value=read_credits,
        parse_literal=_read_credits_literal,
    ),
    Dollars: strawberry.scalar(
        name="Dollars",
        description="An amount of US dollars as a decimal string, exact to the billionth:"
        ' `"0.15"`.',
        serialize=show_dollars,
        parse_value=read_dollars,
    ),
    Version: strawberry.scalar(
        name="Version",
        description="A version of an account: a whole number that only rises, below 2^53.",
        serialize=int,
        parse_value=read_version,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description='An instant, with its offset: `"2026-01-31T10:00:00Z"`. Answers are in UTC.',
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=show_instant,
        parse_value=read_instant,
    ),
}
