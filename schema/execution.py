"""Execution: graphql-core's own, with a short way for what is most of an answer: leaves.

A field that reads an attribute and is a scalar or an enum needs no path, no resolve info,
no look for an awaitable. Whatever is not plain (null where none may be, a value that does
not fit, an attribute that raises) goes the long way, so that errors are exactly those of
the library.
"""

from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any, NamedTuple, cast

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    OperationType,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import collect_fields
from graphql.execution.executor import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from graphql.pyutils import AwaitableOrValue, Path
from strawberry.execution import optimized_is_awaitable
from strawberry.types.field import StrawberryField

from schema.documents import Operation

_DEFINITION = "strawberry-definition"


# The library is asked: it says what is wrong, if anything is.
_UNREAD = object()


class _Leaf(NamedTuple):
    attribute: str
    coerce: Callable[[Any], Any]
    is_nullable: bool

    def read(self, source: object) -> object:
        """Return the value of a source as it is answered."""
        value: Any = None
        coerced: Any = None
        try:
            value = getattr(source, self.attribute)
            if value is None:
                return None if self.is_nullable else _UNREAD
            coerced = self.coerce(value)
        except Exception:  # noqa: BLE001  # it happens again, where it is told
            coerced = None
        if coerced is not None:
            return coerced
        if isinstance(value, CoroutineType):
            # The library makes its own, and awaits it.
            value.close()
        return _UNREAD


Leaves = Mapping[GraphQLObjectType, Mapping[str, _Leaf]]


def leaves_of(schema: GraphQLSchema) -> Leaves:
    """Return which fields of which types are plain attributes and leaves."""
    return {
        type_: {
            name: leaf for name, field in type_.fields.items() if (leaf := _leaf(field)) is not None
        }
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
    }


def _leaf(field: GraphQLField) -> _Leaf | None:
    definition = field.extensions.get(_DEFINITION)
    type_ = get_nullable_type(field.type)
    if (
        not isinstance(definition, StrawberryField)
        or not getattr(field.resolve, "_is_default", False)
        or field.args
        or not is_leaf_type(type_)
        # A permission or an extension of it stands in the resolver alone.
        or not definition.is_basic_field
        # A scalar that takes anything would also take what has yet to be awaited.
        or type_.name == "JSON"
    ):
        return None
    coerce = _text if type_.name in _TEXTS else type_.coerce_output_value
    return _Leaf(definition.python_name, coerce, not is_non_null_type(field.type))


# These take whatever has a text: an error, `Undefined`, what has yet to be awaited.
_TEXTS = frozenset({"ID", "String"})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


class LeafExecutor(Executor[None]):
    """Runs one operation."""

    def __init__(
        self,
        schema: GraphQLSchema,
        leaves: Leaves,
        operation: Operation,
        variables: VariableValues,
        context: object,
        *,
        suggest: bool = True,
    ) -> None:
        super().__init__(
            schema,
            operation.fragment_definitions,
            operation.fragments,
            None,
            context,
            operation.node,
            variables,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=not suggest,
        )
        self._leaves = leaves
        self._prepared = operation
        if operation.collected is not None:
            # The same for every run of this document.
            self._relevant_sub_fields = cast("Any", operation.collected)

    def run(self) -> AwaitableOrValue[ExecutionResult]:
        """Execute the operation from its root value."""
        operation = self._prepared
        root_type = self.schema.get_root_type(operation.type)
        if root_type is None:
            raise LookupError(operation.type)
        try:
            data = self.execute_root_grouped_field_set(
                root_type,
                self.root_value,
                self._root_fields(root_type),
                operation.type is OperationType.MUTATION,
                None,
            )
        except GraphQLError as error:
            return self._nothing(error)
        if self.is_awaitable(data):
            return self._awaited(cast("Any", data))
        return cast("ExecutionResult", self.build_response(cast("dict[str, Any]", data)))

    async def _awaited(self, data: Any) -> ExecutionResult:
        try:
            return cast("ExecutionResult", self.build_response(await data))
        except GraphQLError as error:
            return self._nothing(error)

    def _nothing(self, error: GraphQLError) -> ExecutionResult:
        self.collected_errors.add(error, None)
        return cast("ExecutionResult", self.build_response(None))

    def _root_fields(self, root_type: GraphQLObjectType) -> Any:
        collected = self._prepared.collected
        known = None if collected is None else collected.get(root_type)
        if known is None:
            known, _, _ = collect_fields(
                self.schema,
                self.fragments,
                self.variable_values,
                root_type,
                self.operation,
                self.hide_suggestions,
            )
            if collected is not None:
                collected[root_type] = known
        return known

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: Any,
        position_context: None,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Read the leaves; leave the rest to the library."""
        leaves = self._leaves.get(parent_type)
        if not leaves:
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        results: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, details in grouped_field_set.items():
            field_name = details[0].node.name.value
            leaf = leaves.get(field_name)
            value = parent_type.name if field_name == "__typename" else _UNREAD
            if leaf is not None:
                value = leaf.read(source_value)
            if value is not _UNREAD:
                results[name] = value
                continue
            # Its place in the order of the answer.
            results[name] = None
            rest[name] = details
        if not rest:
            return results
        completed = super().execute_fields(parent_type, source_value, path, rest, position_context)
        if self.is_awaitable(completed):
            return _merged(results, rest, cast("Any", completed))
        return _merge(results, rest, cast("dict[str, Any]", completed))


def _merge(
    results: dict[str, Any], rest: Mapping[str, Any], completed: dict[str, Any]
) -> dict[str, Any]:
    for name in rest:
        if name in completed:
            results[name] = completed[name]
        else:
            del results[name]
    return results


async def _merged(results: dict[str, Any], rest: Mapping[str, Any], completed: Any) -> Any:
    return _merge(results, rest, await completed)
