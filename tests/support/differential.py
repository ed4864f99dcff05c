"""Objects of a schema's own types whose fields are told by chance, and may be trouble.

What a field is told is drawn when it is first read and stays so: whoever executes the same
document over the same objects afterwards reads the same. An awaitable is made anew each time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import CORO_CREATED, getcoroutinestate
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from app.core.database import Unavailable
from app.core.refusals import Refusal

_DEFINITION = "strawberry-definition"
_NULLS = 0.15
_LATER = 0.2


@dataclass(frozen=True, slots=True)
class _Later:
    value: Any
    turns: int

    async def told(self) -> Any:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if isinstance(self.value, _Raises):
            raise self.value.error()
        return self.value


@dataclass(frozen=True, slots=True)
class _Raises:
    # A new one each time: an error that was told knows where.
    error: Callable[[], Exception]


class Stranger:
    """A value that no type of any schema knows, though everything has a text."""

    def __str__(self) -> str:
        return "stranger"


class Waiting:
    """Awaitable, though no coroutine."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return "7"


class Sources:
    """Draws what the fields of one execution are told."""

    def __init__(self, schema: GraphQLSchema, random: Random, harm: float) -> None:
        self._schema = schema
        self._random = random
        self._harm = harm
        self._roots: dict[object, Any] = {}
        self._later: list[Coroutine[Any, Any, Any]] = []

    def root(self, key: object, type_: Any) -> Any:
        """Tell a field of a root."""
        if key not in self._roots:
            self._roots[key] = self.draw(type_, may_wait=True)
        return self.tell(self._roots[key])

    def tell(self, value: Any) -> Any:
        """Return a value that was drawn, raise it, or return what it can be awaited by."""
        if isinstance(value, _Raises):
            raise value.error()
        if not isinstance(value, _Later):
            return value
        later = value.told()
        self._later.append(later)
        return later

    def forgotten(self) -> int:
        """Return how many that could have been awaited never were, and forget them too."""
        left = [each for each in self._later if getcoroutinestate(each) == CORO_CREATED]
        for each in left:
            each.close()
        self._later.clear()
        return len(left)

    def draw(self, type_: Any, *, may_wait: bool = False) -> Any:
        """Draw a value of a type, or something that is none."""
        if self._random.random() < self._harm:
            return self._trouble(type_)
        value = self._value(type_)
        if may_wait and self._random.random() < _LATER:
            return _Later(value, self._random.randrange(3))
        return value

    def _value(self, type_: Any) -> Any:
        if not is_non_null_type(type_) and self._random.random() < _NULLS:
            return None
        bare = get_nullable_type(type_)
        if is_list_type(bare):
            items = [
                self._listed(self.draw(bare.of_type)) for _ in range(self._random.randrange(4))
            ]
            return tuple(items) if self._random.random() < _NULLS else items
        if is_leaf_type(bare):
            return self._leaf(bare)
        if is_abstract_type(bare):
            bare = self._random.choice(list(self._schema.get_possible_types(bare)))
        return _Thing.of(bare, self)

    def _listed(self, value: Any) -> Any:
        # A list holds what it holds: it is not asked, so nothing is raised or made later.
        return self._random.choice([Stranger(), None]) if isinstance(value, _Told) else value

    def _leaf(self, type_: Any) -> Any:
        if isinstance(type_, GraphQLEnumType):
            return self._random.choice(list(type_.values.values())).value
        return self._random.choice(_GOOD[type_.name])

    def _trouble(self, type_: Any) -> Any:
        random = self._random
        troubles: list[Callable[[], Any]] = [
            lambda: None,
            lambda: Undefined,
            lambda: _Raises(random.choice(_ERRORS)),
            lambda: _Later(_Raises(random.choice(_ERRORS)), random.randrange(3)),
            lambda: _Later(random.choice(_WRONG), random.randrange(3)),
            lambda: _Later(self._value(type_), random.randrange(3)),
            lambda: random.choice(_WRONG),
            lambda: random.choice(_WRONG),
        ]
        return random.choice(troubles)()


_Told = _Later | _Raises


class _Thing:
    """Behind an object of the schema's own class, and in the place of its fields."""

    @staticmethod
    def of(type_: GraphQLObjectType, sources: Sources) -> Any:
        """Return an object of a type's own class."""
        definition = type_.extensions[_DEFINITION]
        names = {
            field.python_name: type_.fields[_name_of(type_, field)]
            for field in definition.fields
            if _name_of(type_, field) in type_.fields
        }
        told: dict[str, Any] = {}

        def read(self: object, name: str) -> Any:
            if name == "told_by_name":
                return read_by_name
            if name not in names:
                return object.__getattribute__(self, name)
            if name not in told:
                told[name] = sources.draw(names[name].type)
            return sources.tell(told[name])

        def read_by_name(graphql_name: str) -> Any:
            # What has a resolver of its own may answer later.
            if graphql_name not in told:
                told[graphql_name] = sources.draw(type_.fields[graphql_name].type, may_wait=True)
            return sources.tell(told[graphql_name])

        class_ = type(definition.origin.__name__, (definition.origin,), {"__getattribute__": read})
        return object.__new__(class_)


def _name_of(type_: GraphQLObjectType, field: Any) -> str:
    """Return the name of a field in the schema."""
    names = (name for name, known in type_.fields.items() if known.extensions[_DEFINITION] is field)
    return next(names, "")


def _of_root(_source: object, info: Any, **_arguments: object) -> Any:
    return info.context.root((info.parent_type.name, info.path.key), info.return_type)


def _of_object(source: Any, info: Any, **_arguments: object) -> Any:
    return source.told_by_name(info.field_name)


async def _of_events(_source: object, info: Any, **_arguments: object) -> Any:
    for number in range(3):
        yield info.context.root(number, info.return_type)


def rewire(schema: GraphQLSchema) -> None:
    """Put chance in the place of every resolver that does more than to read an attribute."""
    roots = (schema.query_type, schema.mutation_type)
    for name, type_ in schema.type_map.items():
        if name.startswith("__") or not isinstance(type_, GraphQLObjectType):
            continue
        for field in type_.fields.values():
            if type_ is schema.subscription_type:
                field.subscribe = _of_events
            elif type_ in roots:
                field.resolve = _of_root
            elif not getattr(field.resolve, "_is_default", False):
                field.resolve = _of_object


_GOOD: dict[str, list[Any]] = {
    "Boolean": [True, False, 1, 0],
    "Int": [0, 1, -5, 2**31 - 1, 4.0],
    "Float": [0.5, 1, -1e9],
    "String": ["", "text", "ü𝄞", 5, True],
    "ID": ["id", 7, "0", Stranger()],
    "JSON": [{"a": [1, None]}, [], "text", 0, False],
    "Credits": [0, 1, -2_500_000, 10**18],
    "Dollars": [0, 150_000_000, 10**18],
    "Version": [1, 2**40],
    "DateTime": [datetime(2026, 1, 31, 10, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)],
}
_WRONG: list[Any] = [
    "wrong",
    "",
    -1,
    2**31,
    2**70,
    1.5,
    float("nan"),
    True,
    b"bytes",
    [],
    [[None]],
    {},
    Stranger(),
    Waiting(),
    RuntimeError("an error as a value"),
    Refusal("BUSY"),
]
_ERRORS: list[Callable[[], Exception]] = [
    lambda: RuntimeError("postgresql://app:hunter2@db.internal"),
    lambda: AttributeError("no such attribute"),
    lambda: ValueError(""),
    lambda: KeyError("a key"),
    lambda: GraphQLError("told as it is"),
    lambda: GraphQLError("with more", extensions={"code": "MORE", "fact": [1]}),
    lambda: Refusal("BUSY"),
    lambda: Refusal("NOT_FOUND", {"kind": "thing", "id": "5"}),
    lambda: Unavailable("gone"),
]
