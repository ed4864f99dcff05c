"""Limits of a document, as validation rules built once.

Rules that are made anew for each request would switch the validation cache off.
"""

from collections.abc import Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

_INTROSPECTION = ("__schema", "__type")

# Fragments that spread fragments multiply, with or without a field at the end, and for each
# operation anew; nobody needs this many selections in all operations of a document together.
_SELECTIONS = 5_000

# The library compares each field with all of the same name beside it. At its own limit,
# 500,000 comparisons, a document of 2,000 tokens takes a second, from anybody; at this
# one 30 ms. The documents of the contract need 3.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 10_000


def too_complex(what: str, limit: int, **facts: int) -> GraphQLError:
    """Return the error of a document that goes beyond a limit."""
    return GraphQLError(
        f"The document has more than {limit} {what}.",
        extensions={"code": "QUERY_TOO_COMPLEX", "limit": limit, **facts},
    )


def make_rules(
    *, depth: int, aliases: int, root_fields: int, introspection: bool
) -> tuple[type[ValidationRule], ...]:
    """Return the rules for some limits; fragments count where they are spread."""

    class DocumentLimits(ValidationRule):
        """Counts levels, aliases and root fields of each operation."""

        def __init__(self, context: ValidationContext) -> None:
            super().__init__(context)
            self._left = _SELECTIONS

        def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
            if self._left < 0:
                # It has been told; to measure the other operations would cost as much again.
                return
            measured = _Measure(self.context, depth_limit=depth, selections_limit=self._left)
            measured.walk(node.selection_set, 1, frozenset())
            self._left -= measured.selections
            if self._left < 0:
                self.report_error(too_complex("selections, fragments expanded", _SELECTIONS))
            if measured.deepest > depth:
                self.report_error(too_complex("levels", depth))
            if measured.aliases > aliases:
                self.report_error(too_complex("aliases", aliases))
            if measured.root_fields > root_fields:
                self.report_error(too_complex("root fields", root_fields))

    return (DocumentLimits,) if introspection else (DocumentLimits, NoSchemaIntrospectionCustomRule)


class _Measure:
    """Walks an operation, fragments expanded, and stops early where it is too much."""

    def __init__(
        self, context: ValidationContext, *, depth_limit: int, selections_limit: int
    ) -> None:
        self._fragments: Mapping[str, FragmentDefinitionNode] = {
            node.name.value: node
            for node in context.document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._depth_limit = depth_limit
        self._selections_limit = selections_limit
        self.selections = 0
        self.deepest = 0
        self.aliases = 0
        self.root_fields = 0

    def walk(self, selections: SelectionSetNode | None, level: int, within: frozenset[str]) -> None:
        if selections is None:
            return
        for node in selections.selections:
            self.selections += 1
            if self.selections > self._selections_limit or self.deepest > self._depth_limit:
                return
            if isinstance(node, FieldNode):
                self._enter(node, level, within)
            elif isinstance(node, InlineFragmentNode):
                self.walk(node.selection_set, level, within)
            elif isinstance(node, FragmentSpreadNode):
                name = node.name.value
                fragment = self._fragments.get(name)
                # Circles are an error of their own; here they only must not trap us.
                if fragment is not None and name not in within:
                    self.walk(fragment.selection_set, level, within | {name})

    def _enter(self, node: FieldNode, level: int, within: frozenset[str]) -> None:
        self.aliases += node.alias is not None
        if level == 1:
            self.root_fields += 1
            if node.name.value in _INTROSPECTION:
                return
        self.deepest = max(self.deepest, level)
        self.walk(node.selection_set, level + 1, within)
