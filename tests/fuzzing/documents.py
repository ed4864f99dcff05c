"""GraphQL documents: those of the contract, bent; grown from the schema; soup; bombs."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    parse,
    type_from_ast,
)
from graphql.language import OperationDefinitionNode

from tests.fuzzing import values, world

CONTRACT = Path(__file__).parents[2] / "frontend-contract"
SCHEMA = build_schema((CONTRACT / "schema.graphql").read_text("utf-8"))
DOCUMENTS = {
    path.stem: path.read_text("utf-8")
    for path in sorted((CONTRACT / "operations").glob("*.graphql"))
}
SUBSCRIPTIONS = [name for name in DOCUMENTS if name.endswith(("Updated", "Added"))]
OPERATIONS = [name for name in DOCUMENTS if name not in SUBSCRIPTIONS]
VARIABLES = {
    name: {
        variable.variable.name.value: type_from_ast(SCHEMA, cast("Any", variable.type))
        for node in parse(text).definitions
        if isinstance(node, OperationDefinitionNode)
        for variable in node.variable_definitions or ()
    }
    for name, text in DOCUMENTS.items()
}
_NAMES = sorted({*SCHEMA.type_map, *SCHEMA.query_type.fields} if SCHEMA.query_type else ())
_RIGHT: dict[str, Callable[[Random], Any]] = {
    "ID": lambda rng: rng.choice(world.IDS),
    "Credits": lambda rng: rng.choice(values.CREDITS),
    "Dollars": lambda rng: rng.choice(values.CREDITS),
    "Int": lambda rng: rng.choice(values.INTS),
    "Version": lambda rng: rng.choice(values.INTS),
    "Float": lambda rng: rng.choice(values.INTS),
    "Boolean": lambda rng: rng.random() < 0.5,
    "DateTime": lambda rng: f"20{rng.randint(25, 31)}-0{rng.randint(1, 9)}-11T10:00:00Z",
    "JSON": lambda rng: {values.text(rng): values.value(rng)},
    "String": lambda rng: rng.choice(["k", f"k-{rng.getrandbits(32)}", "fuzz", values.text(rng)]),
}


def near(rng: Random, type_: Any, wrong: float = 0.1) -> Any:
    """Return a value of an input type, right in most places."""
    if rng.random() < wrong / 2:
        return values.value(rng)
    if isinstance(type_, GraphQLNonNull):
        return near(rng, type_.of_type, wrong)
    if isinstance(type_, GraphQLList):
        return [near(rng, type_.of_type, wrong) for _ in range(rng.randint(0, 3))]
    if isinstance(type_, GraphQLEnumType):
        return rng.choice(list(type_.values))
    if isinstance(type_, GraphQLInputObjectType):
        given = {
            name: near(rng, field.type, wrong)
            for name, field in type_.fields.items()
            if isinstance(field.type, GraphQLNonNull) or rng.random() < 0.5
        }
        if rng.random() < wrong:
            given[rng.choice(["", "__typename", values.text(rng)])] = values.scalar(rng)
        if given and rng.random() < wrong:
            given.pop(rng.choice(list(given)))
        return given
    return _RIGHT[str(type_)](rng)


def variables(rng: Random, operation: str) -> dict[str, Any]:
    """Return variables for a document of the contract."""
    given = {name: near(rng, type_) for name, type_ in VARIABLES[operation].items()}
    if "organizationId" in given and rng.random() < 0.7:
        given["organizationId"] = world.ORGANIZATION
    if "projectId" in given and rng.random() < 0.7:
        given["projectId"] = world.PROJECT
    if isinstance(inner := given.get("input"), dict) and rng.random() < 0.7:
        for each in ("organizationId", "projectId"):
            if each in inner:
                inner[each] = getattr(world, each[:-2].upper())
    return given


_PIECES = (
    "{",
    "}",
    "(",
    ")",
    "...",
    "on",
    "$",
    "@skip(if: true)",
    '"',
    '"""',
    "#",
    ":",
    "!",
    "\\u{110000}",
)


def bent(rng: Random) -> str:
    """Take a document of the contract and cut, double, swap or insert pieces of it."""
    text: str = rng.choice(list(DOCUMENTS.values()))
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.randint(0, 60))
        match rng.randrange(5):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:end] + text[start:end] + text[end:]
            case 2:
                text = text[:start] + rng.choice([*_PIECES, values.text(rng)]) + text[start:]
            case 3:
                text = text[:start] + text[start:end].upper() + text[end:]
            case _:
                text = text[start:end] + text[:start] + text[end:]
    return text


_PUNCTUATORS = ("!", "$", "&", "(", ")", "...", ":", "=", "@", "[", "]", "{", "|", "}", ",")
_KEYWORDS = [
    "query",
    "mutation",
    "subscription",
    "fragment",
    "on",
    "true",
    "false",
    "null",
    "type",
    "schema",
    "extend",
    "input",
    "enum",
    "interface",
    "union",
    "scalar",
    "directive",
    "implements",
    "repeatable",
    "__typename",
    "__schema",
    "__type",
]


def _token(rng: Random) -> str:
    names: list[str] = _NAMES
    match rng.randrange(8):
        case 0 | 1 | 2:
            return rng.choice(_PUNCTUATORS)
        case 3:
            return rng.choice(_KEYWORDS)
        case 4 | 5:
            return rng.choice(names)
        case 6:
            return rng.choice(["0", "-1", "1.5e9", "00", "1.", "9" * 50, *values.NUMBERS])
        case _:
            return rng.choice(
                ['"x"', '"\\u00"', '"""block\n  text"""', '"', '"""', "# c\n", "\ufeff"]
            )


def soup(rng: Random) -> str:
    """Return tokens of the grammar in no order."""
    count = rng.choice([3, 10, 40, rng.randint(1, 200)])
    opening = rng.choice(["", "{", "query {", "mutation ($a: Int) {", "fragment f on Query {"])
    return opening + rng.choice([" ", "", "\n"]).join(_token(rng) for _ in range(count))


def grown(rng: Random, root: str = "Query") -> str:
    """Return a document that follows the schema in most places."""
    type_ = SCHEMA.type_map[root]
    return f"{'' if root == 'Query' else root.lower()} {_selections(rng, type_, 4)}"


def _selections(rng: Random, type_: Any, levels: int) -> str:
    if isinstance(type_, GraphQLUnionType):
        chosen = rng.sample(type_.types, min(2, len(type_.types)))
        return (
            "{"
            + " ".join(f"... on {each.name} {_selections(rng, each, levels)}" for each in chosen)
            + " __typename}"
        )
    if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
        return ""
    fields = list(type_.fields.items())
    picked = rng.sample(fields, min(len(fields), rng.randint(1, 4)))
    parts = [_field(rng, name, field, levels) for name, field in picked]
    if rng.random() < 0.1:
        parts.append(rng.choice(["__typename", "nothing", "...f", "... on Query {__typename}", ""]))
    return "{" + " ".join(parts) + " __typename}"


def _field(rng: Random, name: str, field: GraphQLField, levels: int) -> str:
    inner = get_named_type(field.type)
    composite = isinstance(inner, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType)
    if composite and not levels:
        return "__typename"
    alias = f"{values.name(rng)}: " if rng.random() < 0.1 else ""
    given = [
        f"{each}: {_literal(argument.type, near(rng, argument.type, 0.02))}"
        for each, argument in field.args.items()
        if isinstance(argument.type, GraphQLNonNull) or rng.random() < 0.5
    ]
    arguments = f"({', '.join(given)})" if given else ""
    skip = rng.choice(["@skip(if: false)", "@include(if: 1)", "@a"]) if rng.random() < 0.05 else ""
    return f"{alias}{name}{arguments} {skip}" + _selections(rng, inner, levels - 1)


def _literal(type_: Any, value: Any) -> str:
    """Write a value as a document does; what does not fit its type is written all the same."""
    if isinstance(type_, GraphQLNonNull):
        return _literal(type_.of_type, value)
    if isinstance(value, dict):
        fields = type_.fields if isinstance(type_, GraphQLInputObjectType) else {}
        inner = {each: fields[each].type if each in fields else None for each in value}
        return "{" + ", ".join(f"{k}: {_literal(inner[k], v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        of = type_.of_type if isinstance(type_, GraphQLList) else None
        return "[" + ", ".join(_literal(of, each) for each in value) + "]"
    if isinstance(type_, GraphQLEnumType) and isinstance(value, str):
        return value
    return json.dumps(value)


def deep(rng: Random) -> str:
    """Return nesting of any sort."""
    n = rng.choice([10, 16, 100, 600, 3_000])
    return rng.choice(
        [
            "{a" * n + "}" * n,
            "{" * n,
            "{" + "... {" * n + "__typename" + "}" * (n + 1),
            "{ a(b: " + "[" * n + "]" * n + ") }",
            "{ a(b: " + "{c: " * n + "1" + "}" * n + ") }",
            "query ($a: " + "[" * n + "Int" + "]" * n + ") { __typename }",
            "{ organizations " + "{ edges { node { balance " * n + "{ version }" + "}}}" * n + "}",
        ]
    )


def wide(rng: Random) -> str:
    """Return much beside each other."""
    n = rng.choice([50, 400, 1_900, 3_000])
    field = rng.choice(
        ["__typename ", "a ", "creditBalance ", "...f ", "projects { nodes { id } } "]
    )
    return rng.choice(
        [
            "{" + field * n + "}",
            "{" + " ".join(f"a{i}" for i in range(n)) + "}",
            "query (" + " ".join(f"$a{i}: Int" for i in range(n // 4)) + ") { id }",
            "{ a(" + " ".join(f"b{i}: {i}" for i in range(n // 3)) + ") }",
            "{ __typename " + "@skip(if: false) " * (n // 7) + "}",
            " ".join(f"query q{i} {{ __typename }}" for i in range(n // 6)),
            "{ __typename " + "," * n * 50 + "# c\n" * n + "}",
            "{" + " ".join(f"{'a' * 60}{i}" for i in range(n)) + "}",
            "mutation { reserveCredits(input: {"
            + " ".join(f"organizationI{i}: {i}" for i in range(n // 3))
            + "}) { __typename } }",
            "{ creditGrants(states: [" + "ACTIV " * n + "]) { nodes { id } } }",
            " ".join(f"query q{i}($a: Int!) {{ ...f }}" for i in range(n // 20))
            + " fragment f on Query {"
            + " projects(first: $a) { nodes { id } }" * 19
            + "}",
            '{ a(b: "' + "x" * n * 40 + '") }',
        ]
    )


def aliases(rng: Random) -> str:
    """Return many names for one thing."""
    n = rng.choice([30, 31, 300, 700])
    inner = rng.choice(["__typename", "projects { nodes { id } }", "organizations { totalCount }"])
    return "{" + " ".join(f"a{i}: {inner}" for i in range(n)) + "}"


def fragments(rng: Random, *, circular: bool) -> str:
    """Return fragments that each spread the next one several times, or each other.

    They are spread by one operation, or by many.
    """
    links, spreads = rng.randint(1, 60), rng.choice([1, 2, 3, 8])
    ends = ["...f0", f"...f{links}", "...f1 ...f0"] if circular else ["__typename", "a", "...none"]
    type_ = rng.choice(["Query", "Query", "Organization", "Nothing"])
    chain = " ".join(
        f"fragment f{n} on {type_} {{ {f'...f{n + 1} ' * spreads}}}" for n in range(links)
    )
    count = rng.choice([1, 1, 10, 150])
    spread = " ".join(f"query q{n} {{ ...f0 }}" for n in range(count))
    return f"{spread} {chain} fragment f{links} on {type_} {{ {rng.choice(ends)} }}"
