"""What changed for clients since the contract's last release is no surprise: it is written down."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, get_named_type
from graphql.utilities import find_breaking_changes, find_dangerous_changes

CONTRACT = Path(__file__).parents[2] / "frontend-contract"
RELEASED = CONTRACT / "released" / "schema.graphql"
CHANGELOG = CONTRACT / "CHANGELOG.md"
HERE = "frontend-contract/CHANGELOG.md, [Unreleased]"

# Breaking by the contract's rules, though graphql-core calls it dangerous.
BREAKING_TOO = "ARG_DEFAULT_VALUE_CHANGE"


def not_written_down(old: str, new: str, changelog: str) -> list[str]:
    """Return what to write, and where, for each change that the changelog does not name."""
    before, after = build_schema(old), build_schema(new)
    unreleased = _unreleased(changelog)
    broken = [change.description for change in find_breaking_changes(before, after)]
    dangerous: list[str] = []
    for change in find_dangerous_changes(before, after):
        kind = broken if change.type.name == BREAKING_TOO else dangerous
        kind.append(change.description)
    breaking = list(_items(_section(unreleased, "Breaking")))
    lacking = [
        f"a client breaks: undo it, or begin an item of {HERE}, ### Breaking with: {description}"
        for description in broken
        if not any(item.startswith(description) for item in breaking)
    ]
    named = [set(re.findall(r"\w+", " ".join(quoted))) for quoted in _quoted(unreleased)]
    for description in dangerous:
        names = [sorted(_also_called(name, after)) for name in _names(description)]
        if not any(all(item.intersection(name) for name in names) for item in named):
            told = " and ".join(" or ".join(f"`{alias}`" for alias in name) for name in names)
            lacking.append(
                f"a client may be surprised: name {told} in one item of {HERE}: {description}"
            )
    return lacking


def _unreleased(changelog: str) -> str:
    found = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    assert found, f"{HERE} is missing"
    return found[1]


def _section(text: str, name: str) -> str:
    found = re.search(rf"^### {name}\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _items(text: str) -> Iterator[str]:
    """Yield the items of all lists, each in one line."""
    for item in re.findall(r"^- (.+(?:\n  .+)*)", text, re.MULTILINE):
        yield " ".join(item.split())


def _quoted(text: str) -> Iterator[list[str]]:
    """Yield what stands in backticks, for each item."""
    for item in _items(text):
        yield re.findall(r"`(.+?)`", item)


def _names(description: str) -> list[str]:
    """Return what a change concerns: the parts of a coordinate, or a member and its union."""
    words = re.findall(r"\w+", description)
    if coordinate := re.search(r"@?\w+(?:\.\w+)?\(\w+:\)|\w+\.\w+", description):
        words = re.findall(r"\w+", coordinate[0])
        return [word for word in words if word not in ("Query", "Mutation", "Subscription")]
    return [words[0], words[-1]]


def _also_called(name: str, schema: GraphQLSchema) -> set[str]:
    """Return a name and, if it is a type's, those of the root fields that answer or take it."""
    called = {name}
    for root in (schema.query_type, schema.mutation_type, schema.subscription_type):
        for field_name, field in root.fields.items() if root else ():
            used = [field.type, *(argument.type for argument in field.args.values())]
            if name in {get_named_type(type_).name for type_ in used}:
                called.add(field_name)
    return called


def test_what_changed_since_the_last_release_is_written_down() -> None:
    lacking = not_written_down(
        RELEASED.read_text("utf-8"),
        (CONTRACT / "schema.graphql").read_text("utf-8"),
        CHANGELOG.read_text("utf-8"),
    )
    assert lacking == [], "\n".join(
        [
            "The schema is not what the last release was, and nothing says so.",
            *lacking,
            "(Just released? Then copy schema.graphql to frontend-contract/released.)",
        ]
    )


OLD = """
type Query { a(n: Int = 1): Result!  b: String!  c(input: Input): Colour }
union Result = Good | Bad
type Good { x: Int }
type Bad { y: Int }
type Worse { z: Int }
enum Colour { RED }
input Input { w: Int }
"""
BREAKING = [
    ("b: String!", "b: String", "Field Query.b changed type from String! to String."),
    ("Good | Bad", "Good", "Bad was removed from union type Result."),
    ("{ y: Int }", "{ z: Int }", "Field Bad.y was removed."),
    ("n: Int = 1", "n: Int!", "Argument Query.a(n:) has changed type from Int to Int!."),
    ("w: Int", "w: Int  v: Int!", "A required field Input.v was added."),
    # By the contract's rules.
    ("n: Int = 1", "n: Int = 2", "Query.a(n:) has changed defaultValue from 1 to 2."),
]
# What came, and items of which only the first names it.
DANGEROUS = [
    ("Good | Bad", "Good | Bad | Worse", ["`a` may answer `Worse`.", "`Worse`.", "a: `Worse`."]),
    ("Good | Bad", "Good | Bad | Worse", ["`Worse` in `Result`.", "`a` answers `Result`."]),
    ("RED", "RED BLUE", ["`Colour.BLUE`.", "`Colour`.", "Colour.BLUE."]),
    ("n: Int = 1", "n: Int = 1, m: Int", ["`a` takes `m`.", "`a` takes more."]),
    ("w: Int", "w: Int  v: Int", ["`c` takes `v`.", "`a` takes `v`."]),
]


def _changelog(section: str, item: str, released: str = "The first.") -> str:
    return (
        f"# C\n\n## [Unreleased]\n\n### {section}\n\n- {item}\n"
        f"\n## [0.1.0]\n\n### {section}\n\n- {released}\n"
    )


@pytest.mark.parametrize(("was", "now", "description"), BREAKING)
def test_a_break_must_be_named_exactly_under_breaking(was: str, now: str, description: str) -> None:
    new = OLD.replace(was, now)
    wrapped = description.replace(" ", "\n  ", 1) + " Send the other one instead."
    assert not_written_down(OLD, new, _changelog("Breaking", wrapped)) == []
    for changelog in (
        _changelog("Changed", description),
        _changelog("Breaking", description.removesuffix(".")),
        _changelog("Breaking", f"Perhaps: {description}"),
        _changelog("Breaking", "Another.", released=description),
    ):
        [told] = not_written_down(OLD, new, changelog)
        assert told.endswith(f"[Unreleased], ### Breaking with: {description}")


@pytest.mark.parametrize(("was", "now", "items"), DANGEROUS)
def test_what_may_surprise_a_client_must_be_named_too(was: str, now: str, items: list[str]) -> None:
    new = OLD.replace(was, now)
    names_it, *others = items
    assert not_written_down(OLD, new, _changelog("Added", names_it)) == []
    for changelog in (
        *(_changelog("Added", item) for item in others),
        _changelog("Added", "Another.", released=names_it),
    ):
        [told] = not_written_down(OLD, new, changelog)
        assert told.startswith("a client may be surprised: name `")


def test_what_a_client_must_bear_anyhow_needs_no_word() -> None:
    new = OLD.replace("b: String!", "b: String!  d: Other") + "type Other { e: Int }"
    assert not_written_down(OLD, new, _changelog("Added", "Another.")) == []
