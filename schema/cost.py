"""What a document may make the server look up: counted before it runs, from its page sizes.

Each object that may be answered costs 1, a total that is counted 10, a mutation or a
subscription 10 for each root field; leaves cost nothing. Below a field with `first`, lists
hold that many objects; any other list is taken for five. The sum is a few products of
page sizes, worked out once for each document; what is left to a request is to put in its
variables.
"""

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

_PAGE_LIMIT = 100
_LIST = 5
_COUNTED = 10
_ROOT = {OperationType.QUERY: 0, OperationType.MUTATION: 10, OperationType.SUBSCRIPTION: 10}

# A page size: known, or a variable with what it is when it is not sent.
_Size = int | tuple[str, int]


class Cost:
    """The cost of one operation, as a function of its variables."""

    def __init__(self, terms: Mapping[tuple[_Size, ...], int]) -> None:
        self._fixed = terms.get((), 0)
        self._terms = [(weight, sizes) for sizes, weight in terms.items() if sizes]

    def of(self, variables: Mapping[str, Any] | None) -> int:
        """Return what a request with these variables may cost."""
        total = self._fixed
        for weight, sizes in self._terms:
            known = (each if isinstance(each, int) else _sent(variables, *each) for each in sizes)
            total += weight * prod(known)
        return total


def _sent(variables: Mapping[str, Any] | None, name: str, default: int) -> int:
    return _bounded((variables or {}).get(name, default), default)


def _bounded(value: object, default: int) -> int:
    # What is no page size is refused where it is read; here it must only not mislead.
    if isinstance(value, bool) or not isinstance(value, int):
        return default
    return max(0, min(value, _PAGE_LIMIT))


def cost_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Cost:
    """Work out the cost of an operation that is valid."""
    return Cost(_Walk(schema, operation, fragments).terms)


class _Walk:
    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._defaults = {
            node.variable.name.value: node.default_value.value
            for node in operation.variable_definitions or ()
            if isinstance(node.default_value, IntValueNode)
        }
        self.terms: Counter[tuple[_Size, ...]] = Counter()
        root = schema.get_root_type(operation.operation)
        if root is not None:
            self._root = _ROOT[operation.operation]
            self._select(operation.selection_set, root, (), None, is_root=True)

    def _select(
        self,
        selections: SelectionSetNode | None,
        parent: GraphQLNamedType,
        sizes: tuple[_Size, ...],
        page: _Size | None,
        *,
        is_root: bool = False,
    ) -> None:
        for node in selections.selections if selections is not None else ():
            if isinstance(node, FieldNode):
                self._field(node, parent, sizes, page, is_root=is_root)
            elif isinstance(node, InlineFragmentNode):
                on = parent if node.type_condition is None else self._type(node.type_condition)
                self._select(node.selection_set, on, sizes, page, is_root=is_root)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self._fragments[node.name.value]
                on = self._type(fragment.type_condition)
                self._select(fragment.selection_set, on, sizes, page, is_root=is_root)

    def _type(self, condition: Any) -> GraphQLNamedType:
        found = self._schema.get_type(condition.name.value)
        if found is None:
            raise KeyError(condition.name.value)
        return found

    def _field(
        self,
        node: FieldNode,
        parent: GraphQLNamedType,
        sizes: tuple[_Size, ...],
        page: _Size | None,
        *,
        is_root: bool,
    ) -> None:
        name = node.name.value
        fields = parent.fields if isinstance(parent, GraphQLObjectType) else {}
        field = fields.get(name)
        if is_root and not name.startswith("__"):
            self.terms[()] += self._root
        if field is None:
            # Introspection, or a field of an interface: those have leaves only.
            return
        if name == "totalCount":
            self.terms[sizes] += _COUNTED
        named = get_named_type(field.type)
        if is_leaf_type(named):
            return
        bare = field.type.of_type if is_non_null_type(field.type) else field.type
        if is_list_type(bare):
            sizes = (*sizes, _LIST if page is None else page)
        self.terms[sizes] += 1
        self._select(node.selection_set, named, sizes, self._page(node, field.args))

    def _page(self, node: FieldNode, arguments: Mapping[str, Any]) -> _Size | None:
        first = arguments.get("first")
        if first is None:
            return None
        default = first.default_value
        standard = default if isinstance(default, int) else 0
        for argument in node.arguments or ():
            if argument.name.value == "first":
                value = argument.value
                if isinstance(value, IntValueNode):
                    return _bounded(int(value.value), standard)
                if isinstance(value, VariableNode):
                    variable = value.name.value
                    # Read only here, where it is known to be an Int: as an ID it may have
                    # more digits than Python converts.
                    return variable, int(self._defaults.get(variable, standard))
        return standard
