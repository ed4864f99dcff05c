"""Reading of inputs that many fields share."""

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

import strawberry

from app.core.refusals import invalid
from app.identity.origins import ORIGINS, normal_origin

_KEY_LENGTH = 255
_NO_ORIGIN = "must be origins such as https://app.example: http or https, a host, perhaps a port"


def read_id(value: strawberry.ID | str, field: str) -> UUID:
    """Return an id."""
    try:
        return UUID(str(value))
    except ValueError as error:
        raise invalid(field, "must be an id as this API writes them, a UUID") from error


def read_key(value: str) -> str:
    """Return an idempotency key."""
    if not 1 <= len(value) <= _KEY_LENGTH or "\x00" in value:
        raise invalid("idempotencyKey", f"must have 1 to {_KEY_LENGTH} characters")
    return value


def read_text(value: str | None, field: str, length: int = 255) -> str | None:
    """Return a text of bounded length that Postgres can store."""
    if value is not None and (len(value) > length or "\x00" in value):
        raise invalid(field, f"must have at most {length} characters, none of them NUL")
    return value


def read_origins(values: Sequence[str], field: str) -> list[str]:
    """Return origins as browsers send them, each once."""
    if len(values) > ORIGINS:
        raise invalid(field, f"must name at most {ORIGINS} origins")
    origins: set[str] = set()
    for value in values:
        origin = normal_origin(value)
        if origin is None:
            raise invalid(field, _NO_ORIGIN)
        origins.add(origin)
    return sorted(origins)


def value_of(member: Enum) -> str:
    """Return the value of an enum member, as Postgres knows it."""
    return str(member.value)


def values_of(members: Sequence[Enum] | None) -> list[str] | None:
    """Return the values of enum members, as Postgres knows them."""
    return None if members is None else [value_of(member) for member in members]
