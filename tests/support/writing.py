"""Random documents that are valid for a schema: fragments, aliases, directives, repetition."""

import json
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
    parse,
    validate,
)

_DEEPEST = 4


class Writer:
    """Writes one operation."""

    def __init__(self, schema: GraphQLSchema, random: Random) -> None:
        self._schema = schema
        self._random = random
        self._fragments: dict[str, tuple[str, str]] = {}
        self._variables: set[str] = set()

    def write(self, kind: str) -> str:
        """Return a document of one operation."""
        root = {"query": self._schema.query_type, "mutation": self._schema.mutation_type}[kind]
        assert root is not None
        selections = self._selections(root, 1)
        declared = ", ".join(f"${name}: Boolean!" for name in sorted(self._variables))
        fragments = " ".join(
            f"fragment {name} on {on} {text}" for name, (on, text) in self._fragments.items()
        )
        return f"{kind} Q{f'({declared})' if declared else ''} {selections} {fragments}"

    def _selections(self, type_: Any, level: int) -> str:
        count = self._random.randint(1, 4)
        return "{ " + " ".join(self._selection(type_, level) for _ in range(count)) + " }"

    def _selection(self, type_: Any, level: int) -> str:
        chance, is_union = self._random.random(), isinstance(type_, GraphQLUnionType)
        if level < _DEEPEST and chance < (0.8 if is_union else 0.15):
            on = self._narrowed(type_)
            return f"... on {on.name} {self._directives()} {self._selections(on, level + 1)}"
        if level < _DEEPEST and (is_union or chance < 0.27):
            return self._spread(self._narrowed(type_), level)
        if level < _DEEPEST and chance < 0.33:
            return f"... {self._directives()} {self._selections(type_, level + 1)}"
        if is_union or chance < 0.4:
            return f"{self._random.choice(['', 'kind: '])}__typename {self._directives()}"
        return self._field(type_, level)

    def _narrowed(self, type_: Any) -> GraphQLNamedType:
        if is_abstract_type(type_):
            possible = list(self._schema.get_possible_types(type_))
            return self._random.choice([type_, *possible])
        named: GraphQLNamedType = type_
        return named

    def _spread(self, on: GraphQLNamedType, level: int) -> str:
        known = [name for name, (type_name, _) in self._fragments.items() if type_name == on.name]
        if known and self._random.random() < 0.5:
            name = self._random.choice(known)
        else:
            # Its name only when it is whole: so none spreads itself.
            text = self._selections(on, level + 1)
            name = f"f{len(self._fragments)}"
            self._fragments[name] = (on.name, text)
        return f"...{name} {self._directives()}"

    def _field(self, type_: Any, level: int) -> str:
        names = list(type_.fields)
        if level >= _DEEPEST:
            leaves = [
                name for name in names if is_leaf_type(get_named_type(type_.fields[name].type))
            ]
            if not leaves:
                return "__typename"
            names = leaves
        name = self._random.choice(names)
        field = type_.fields[name]
        named = get_named_type(field.type)
        # Types that do not share a field's type share no name for it either.
        alias = self._random.choice(["", "", "", f"{type_.name}_{name}: ", f"x{level}_{name}: "])
        arguments = ", ".join(
            f"{each}: {_literal(argument.type)}"
            for each, argument in field.args.items()
            if is_required_argument(argument)
        )
        inner = "" if is_leaf_type(named) else self._selections(named, level + 1)
        passed = f"({arguments})" if arguments else ""
        return f"{alias}{name}{passed} {self._directives()} {inner}"

    def _directives(self) -> str:
        written = []
        for name in ("skip", "include"):
            if self._random.random() < 0.1:
                value = self._random.choice(["true", "false", "$a", "$b", "$c"])
                if value.startswith("$"):
                    self._variables.add(value[1:])
                written.append(f"@{name}(if: {value})")
        return " ".join(written)


def _is_leaf(field: GraphQLField) -> bool:
    return is_leaf_type(get_named_type(field.type))


def placeholder(type_: Any) -> Any:
    """Return a value of an input type, of its required fields only."""
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        return {
            name: placeholder(field.type)
            for name, field in named.fields.items()
            if is_required_input_field(field)
        }
    if isinstance(named, GraphQLEnumType):
        return next(iter(named.values))
    return {"Int": 1, "Boolean": True, "Version": 1}.get(named.name, "1")


def _literal(type_: Any) -> str:
    value, named = placeholder(type_), get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        inner = ", ".join(f"{name}: {_literal(named.fields[name].type)}" for name in value)
        return f"{{{inner}}}"
    return str(value) if isinstance(named, GraphQLEnumType) else json.dumps(value)


def write(schema: GraphQLSchema, random: Random, kind: str = "query") -> str:
    """Return a random document that is valid."""
    while True:
        text = Writer(schema, random).write(kind)
        # Fields of one name that do not merge are written now and then.
        if not validate(schema, parse(text)):
            return text
