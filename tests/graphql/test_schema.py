"""Walks over the whole schema."""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_required_argument,
    is_specified_scalar_type,
)

from app.core.refusals import CATALOGUE
from db.driver import Connection
from schema.build import make_schema
from tests.graphql.requests import everything
from tests.support.api import Api
from tests.support.callers import Caller
from tests.support.writing import placeholder

SCHEMA = make_schema()._schema
ROOTS = {
    "query": SCHEMA.query_type,
    "mutation": SCHEMA.mutation_type,
    "subscription": SCHEMA.subscription_type,
}
FIELDS = [(kind, name) for kind, root in ROOTS.items() if root is not None for name in root.fields]
# What anybody may ask for, without a key.
PUBLIC: frozenset[str] = frozenset()


def own_types() -> list[GraphQLNamedType]:
    return [
        type_
        for name, type_ in SCHEMA.type_map.items()
        if not name.startswith("__") and not is_specified_scalar_type(type_)
    ]


def described() -> Iterator[tuple[str, str | None]]:
    """Yield the coordinate and the description of everything that can have one."""
    for type_ in own_types():
        yield type_.name, type_.description
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
                for argument_name, argument in field.args.items():
                    yield f"{type_.name}.{name}({argument_name}:)", argument.description
        elif isinstance(type_, GraphQLInputObjectType):
            for name, given in type_.fields.items():
                yield f"{type_.name}.{name}", given.description
        elif isinstance(type_, GraphQLEnumType):
            for name, value in type_.values.items():
                yield f"{type_.name}.{name}", value.description


def test_everything_has_a_description() -> None:
    coordinates = dict(described())
    # The walk has seen one of each kind.
    assert {
        "CreditBalance",
        "CreditBalance.available",
        "Query.creditGrants(states:)",
        "ReserveCreditsInput.amount",
        "RefusalCode.BUSY",
        "Credits",
        "ReserveCreditsResult",
        "Refusal.code",
    } <= coordinates.keys()
    assert [name for name, text in coordinates.items() if not (text or "").strip()] == []


def test_every_code_of_the_catalogue_is_in_the_contract() -> None:
    codes = SCHEMA.type_map["RefusalCode"]
    assert isinstance(codes, GraphQLEnumType)
    assert {name: value.description for name, value in codes.values.items()} == {
        code: f"{entry.message} {entry.advice}" for code, entry in CATALOGUE.items()
    }


def test_no_credits_are_a_number() -> None:
    # A share in per cent is no amount, nor are a model's own parameters.
    parameters = ("temperature", "topP", "presencePenalty", "frequencyPenalty")
    floats = [
        f"{type_.name}.{name}"
        for type_ in own_types()
        if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType)
        for name, field in type_.fields.items()
        if get_named_type(field.type).name == "Float"
    ]
    assert sorted(floats) == sorted(
        [
            "CreditBalance.usagePercentage",
            *(f"CreateChatCompletionInput.{name}" for name in parameters),
            *(f"CreateCompletionInput.{name}" for name in parameters),
        ]
    )


def test_every_mutation_takes_one_input_and_answers_a_union_of_refusals() -> None:
    assert SCHEMA.mutation_type is not None
    for name, field in SCHEMA.mutation_type.fields.items():
        assert list(field.args) == ["input"], name
        union = get_named_type(field.type)
        assert isinstance(union, GraphQLUnionType), name
        success, *refusals = union.types
        assert success.name.endswith("Success"), name
        for refusal in refusals:
            assert [interface.name for interface in refusal.interfaces] == ["Refusal"], name
        listed = {refusal.name for refusal in refusals}
        # Whatever a mutation is, a caller may lack the right, or the input be malformed.
        assert {"Forbidden", "InvalidInput"} <= listed, name
        # It makes something that is kept nowhere, of what it was told alone.
        if name == "createCustomerToken":
            continue
        assert "Busy" in listed, name
        # Answered again as it was, or, since a model is asked once, refused the second time.
        assert "replayed" in success.fields or "call" in success.fields, name
        assert "replayed" in success.fields or "DuplicateRequest" in listed, name


def test_every_mutation_names_its_request_or_what_it_ends() -> None:
    assert SCHEMA.mutation_type is not None
    unkeyed = [
        name
        for name, field in SCHEMA.mutation_type.fields.items()
        if "idempotencyKey" not in get_named_type(field.args["input"].type).fields
    ]
    # What they name is their key: what happens to it happens once; or they say how it shall be.
    assert unkeyed == [
        "setOrganizationPlan",
        "upsertFeature",
        "upsertQualityLevel",
        "upsertModel",
        "upsertPlan",
        "archivePlan",
        "setDefaultPlan",
        "extendReservation",
        "settleCredits",
        "releaseCredits",
        "updateProjectSettings",
        "revokeKey",
        "createCustomerToken",
    ]


def required(arguments: dict[str, GraphQLArgument]) -> dict[str, GraphQLArgument]:
    return {
        name: argument for name, argument in arguments.items() if is_required_argument(argument)
    }


@pytest.mark.parametrize(("kind", "name"), FIELDS)
async def test_every_root_field_refuses_callers_without_a_key(
    kind: str, name: str, api: Api, admin: Connection
) -> None:
    root = ROOTS[kind]
    assert root is not None
    arguments = required(root.fields[name].args)
    declared = ", ".join(f"${key}: {argument.type}" for key, argument in arguments.items())
    passed = ", ".join(f"{key}: ${key}" for key in arguments)
    query = (
        f"{kind}{f' ({declared})' if declared else ''}"
        f" {{ {name}{f'({passed})' if passed else ''} {{ __typename }} }}"
    )
    variables = {key: placeholder(argument.type) for key, argument in arguments.items()}
    before = await everything(admin)
    if kind == "subscription":
        response = await api.http.post(
            "/graphql",
            json={"query": query, "variables": variables},
            headers={"accept": "text/event-stream"},
        )
        assert '"code":"UNAUTHENTICATED"' in response.text
        assert '"data":{' not in response.text
        return
    answered = await api.send(query, variables, Caller.ANONYMOUS)
    assert answered.code == ("OK" if name in PUBLIC else "UNAUTHENTICATED")
    assert await everything(admin) == before


async def test_a_field_of_an_object_is_not_reached_without_a_key(api: Api) -> None:
    # Whatever is nested, its root field has refused before.
    query = '{ organization(id: "1") { creditBalance { available } } }'
    answered = await api.send(query, caller=Caller.ANONYMOUS)
    assert (answered.code, answered.body["data"]) == ("UNAUTHENTICATED", None)


def test_optional_inputs_default_to_what_their_absence_means() -> None:
    # A default that is not null must be the same whether a field is left out or not.
    defaults = {
        f"{type_.name}.{name}": field.default_value
        for type_ in own_types()
        if isinstance(type_, GraphQLInputObjectType)
        for name, field in type_.fields.items()
        if field.default_value not in (None, Undefined)
    }
    # What an upsert leaves out is as if it had never been said.
    upserts = ("Upsert", "ArchivePlan", "ModelPrice", "PlanFeature")
    assert {name for name in defaults if not name.startswith(upserts)} == {
        "CreateChatCompletionInput.maxTokens",
        "CreateCompletionInput.maxTokens",
        "CreateCustomerTokenInput.validSeconds",
        "CreateOrganizationInput.kind",
        "CreateOrganizationKeyInput.scopes",
        "CreateProjectKeyInput.scopes",
        "GrantCreditsInput.priority",
        "GrantCreditsInput.source",
        "ReserveCreditsInput.ttlSeconds",
        "SuggestQuestionsInput.count",
        "SuggestQuestionsInput.existing",
        "UpdateOrganizationSettingsInput.takesEffect",
        "UpdateOrganizationSettingsInput.unlimited",
        "UsageInput.estimated",
        "VoidGrantInput.missingBecomesOverage",
    }
    # With a default, none may be null.
    for type_ in own_types():
        if isinstance(type_, GraphQLInputObjectType):
            for name, field in type_.fields.items():
                if f"{type_.name}.{name}" in defaults:
                    assert isinstance(field.type, GraphQLNonNull), name
