"""Hot reads: trusted documents that one SQL statement answers whole.

Bound at start to operations of one root field whose arguments are variables. A hot read
answers plain requests only; whatever it does not answer (bad input, no right, something
due first) is executed as every other document is, and told in the same words.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    value_from_ast_untyped,
)

from app.credits.shown import NotShownError, Shown
from schema.context import Context
from schema.documents import Operation

Read = Callable[[Mapping[str, Any], Context], Awaitable[str | None]]
Bind = Callable[[tuple[Shown, ...]], Read]


class _UnfitError(Exception):
    """An operation that no statement can stand for."""


@dataclass(frozen=True, slots=True, eq=False)
class HotRead:
    """One operation and what answers it."""

    key: str
    node: FieldNode
    read: Read
    # Of each argument the variable it comes from, and what that is when it is not sent.
    arguments: Mapping[str, tuple[str, Any]]
    # Variables that would add fields the statement does not have, if they were true.
    excluded: tuple[tuple[str, Any], ...]

    async def answer(self, variables: Mapping[str, Any] | None, context: Context) -> str | None:
        """Return the JSON of the root field, or None where it has to be executed."""
        sent = variables or {}
        if any(sent.get(name, default) is not False for name, default in self.excluded):
            return None
        values = {
            argument: sent.get(name, default)
            for argument, (name, default) in self.arguments.items()
        }
        return await self.read(values, context)


def hot_read(operation: Operation, binds: Mapping[str, Bind]) -> HotRead | None:
    """Return what answers an operation by one statement, if anything does."""
    selections = operation.node.selection_set.selections
    if operation.type is not OperationType.QUERY or len(selections) != 1:
        return None
    [root] = selections
    if not isinstance(root, FieldNode) or root.directives or root.name.value not in binds:
        return None
    defaults = {
        node.variable.name.value: None
        if node.default_value is None
        else value_from_ast_untyped(node.default_value)
        for node in operation.node.variable_definitions or ()
    }
    arguments = {}
    for argument in root.arguments or ():
        if not isinstance(argument.value, VariableNode):
            return None
        name = argument.value.name.value
        arguments[argument.name.value] = (name, defaults[name])
    selected = _Selected(operation.fragment_definitions)
    try:
        read = binds[root.name.value](tuple(selected.of(root.selection_set)))
    except (_UnfitError, NotShownError):
        return None
    excluded = tuple((name, defaults[name]) for name in selected.excluded)
    return HotRead(_key(root), root, read, arguments, excluded)


class _Selected:
    """The fields of a selection, fragments followed; those that are only included perhaps, not."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self.excluded: list[str] = []

    def of(self, selection: SelectionSetNode | None) -> Iterable[Shown]:
        for node in selection.selections if selection is not None else ():
            if isinstance(node, FieldNode):
                if node.directives:
                    self.excluded.append(_included_by(node.directives))
                elif node.arguments:
                    raise _UnfitError
                else:
                    fields = tuple(self.of(node.selection_set))
                    yield Shown(_key(node), node.name.value, fields)
            elif node.directives:
                raise _UnfitError
            elif isinstance(node, InlineFragmentNode):
                yield from self.of(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                yield from self.of(self._fragments[node.name.value].selection_set)


def _key(node: FieldNode) -> str:
    return node.name.value if node.alias is None else node.alias.value


def _included_by(directives: Iterable[DirectiveNode]) -> str:
    """Return the variable of `@include(if: $variable)`; nothing else is known."""
    [directive, *others] = directives
    if others or directive.name.value != "include":
        raise _UnfitError
    [argument] = directive.arguments or ()
    if not isinstance(argument.value, VariableNode):
        raise _UnfitError
    return argument.value.name.value
