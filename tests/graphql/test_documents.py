"""The documents of the contract: one for each operation, and fit to be copied."""

import re

import pytest
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLUnionType,
    InlineFragmentNode,
    OperationDefinitionNode,
    Visitor,
    get_named_type,
    parse,
    specified_rules,
    validate,
    visit,
)

from schema.build import make_schema
from schema.limits import make_rules
from tests.support.api import document, documents

SCHEMA = make_schema()._schema
ROOTS = {
    name: (kind, field)
    for kind, root in (
        ("query", SCHEMA.query_type),
        ("mutation", SCHEMA.mutation_type),
        ("subscription", SCHEMA.subscription_type),
    )
    if root is not None
    for name, field in root.fields.items()
}


def parts(operation: str) -> tuple[OperationDefinitionNode, list[FragmentDefinitionNode]]:
    """Return the operation of a document and its fragments."""
    first, *rest = parse(document(operation)).definitions
    assert isinstance(first, OperationDefinitionNode)
    fragments = [node for node in rest if isinstance(node, FragmentDefinitionNode)]
    assert len(fragments) == len(rest)
    return first, fragments


class Spreads(Visitor):
    """Collects the names of the fragments that a document spreads."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.names.add(node.name.value)


def test_each_operation_of_the_schema_has_one_document() -> None:
    assert documents() == sorted(ROOTS)


@pytest.mark.parametrize("operation", documents())
def test_a_document_asks_for_the_field_its_file_is_named_after(operation: str) -> None:
    node, _ = parts(operation)
    [field] = node.selection_set.selections
    assert isinstance(field, FieldNode)
    assert (field.name.value, field.alias) == (operation, None)
    assert node.operation.value == ROOTS[operation][0]
    assert node.name is not None
    assert node.name.value == operation[0].upper() + operation[1:]


@pytest.mark.parametrize("operation", documents())
def test_a_document_takes_every_argument_as_a_variable(operation: str) -> None:
    node, _ = parts(operation)
    variables = {definition.variable.name.value for definition in node.variable_definitions or ()}
    arguments = set(ROOTS[operation][1].args)
    # `count` is the documents' own: whether to count all pages.
    assert variables - {"count"} == arguments


@pytest.mark.parametrize("operation", documents())
def test_a_document_is_valid_within_the_limits_of_production(operation: str) -> None:
    whole: DocumentNode = parse(document(operation), max_tokens=2_000)
    rules = make_rules(depth=15, aliases=30, root_fields=20, introspection=False)
    assert validate(SCHEMA, whole, [*specified_rules, *rules]) == []


@pytest.mark.parametrize("operation", documents())
def test_a_document_spreads_each_of_its_fragments(operation: str) -> None:
    node, fragments = parts(operation)
    spreads = Spreads()
    visit(node, spreads)
    assert spreads.names == {fragment.name.value for fragment in fragments}


def test_no_two_documents_share_a_name() -> None:
    # Generators of typed clients read the folder as one.
    names = [
        definition.name.value
        for operation in documents()
        for definition in (parts(operation)[0], *parts(operation)[1])
        if definition.name is not None
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "operation", [name for name, (kind, _) in ROOTS.items() if kind == "mutation"]
)
def test_a_mutation_asks_for_the_refusal_and_the_facts_of_its_own_ones(operation: str) -> None:
    union = get_named_type(ROOTS[operation][1].type)
    assert isinstance(union, GraphQLUnionType)
    success, *refusals = union.types
    node, _ = parts(operation)
    [field] = node.selection_set.selections
    assert isinstance(field, FieldNode)
    assert field.selection_set is not None
    chosen = [
        selection.type_condition.name.value
        for selection in field.selection_set.selections
        if isinstance(selection, InlineFragmentNode) and selection.type_condition is not None
    ]
    assert chosen[:2] == [success.name, "Refusal"]
    # A fact that decides what a front end shows next; ids it has sent itself it knows.
    told = {
        "InsufficientCredits",
        "InvalidInput",
        "ScopeRequired",
        "BalanceLimit",
        "Conflict",
        "ReservationSettled",
        "SettleAmountImplausible",
        "RefundExceedsSettled",
        "FeatureDenied",
        "RateLimited",
        "ProviderRefused",
    }
    assert sorted(chosen[2:]) == sorted(
        refusal.name for refusal in refusals if refusal.name in told
    )


@pytest.mark.parametrize("operation", documents())
def test_a_document_is_written_in_the_house_form(operation: str) -> None:
    text = document(operation)
    assert text.endswith("}\n")
    assert not re.search(r"\t|[ \t]\n|\n\n\n", text)
    assert max(map(len, text.splitlines())) <= 100
