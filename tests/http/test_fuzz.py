"""Whatever is sent: never a 5xx, always JSON, each error with a code, none of them ours.

The same requests each time, so that what once passed passes again.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLNonNull, GraphQLSchema, parse, type_from_ast
from graphql.language import OperationDefinitionNode
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.refusals import CATALOGUE
from app.credits import Credits
from schema.build import make_schema
from tests.support.api import Api, document, documents

SCHEMA: GraphQLSchema = make_schema()._schema
# Stands for an organization that is there.
ORGANIZATION = "00000000-0000-4000-8000-000000000000"
EXAMPLES = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
async def organization(site: Api) -> AsyncIterator[str]:
    """An organization with credits; whatever was sent, its books are in order."""
    project = {"slug": "fuzz", "name": "Fuzz", "idempotencyKey": "fuzz"}
    made = (await site.run("createProject", {"input": project})).result["project"]
    request = {"projectId": made["id"], "name": "Fuzz", "idempotencyKey": "fuzz"}
    result = (await site.run("createOrganization", {"input": request})).result
    id_: str = result["organization"]["id"]
    grant = {"organizationId": id_, "amount": "1000", "idempotencyKey": "fuzz"}
    assert (await site.run("grantCredits", {"input": grant})).code == "OK"
    yield id_
    assert await Credits(site.database).audit() == []


# Texts that have been somebody's undoing.
texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            "\x00",
            "\uffff",
            "𝄞",
            "NaN",
            "-0",
            "1e999",
            "9" * 400,
            ORGANIZATION,
            f"{ORGANIZATION}:1",
            "'; drop table credits.accounts; --",
            "2026-01-31T10:00:00Z",
            "MTox",
            "{}",
            "../../etc/passwd",
            "%s%n",
        ]
    ),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


async def send(api: Api, content: bytes, **headers: str) -> None:
    """Send a body and hold the answer to what every answer must be."""
    sent = {"content-type": "application/json", **headers}
    response = await api.http.post("/graphql", content=content, headers=api.headers() | sent)
    assert response.status_code < 500, response.text
    assert response.headers["content-type"] in {
        "application/json",
        "application/graphql-response+json",
    }
    body = response.json()
    assert isinstance(body, dict)
    assert body.keys() & {"data", "errors"}
    for error in body.get("errors", ()):
        assert error["extensions"]["code"] in CATALOGUE
        assert error["extensions"]["code"] not in {"INTERNAL", "UNAVAILABLE"}, content
        assert error["extensions"]["requestId"] == response.headers["x-request-id"]


def written(value: Any) -> bytes:
    """Write JSON; a lone surrogate stays one, as a careless client sends it."""
    return json.dumps(value, ensure_ascii=True).encode()


@given(st.one_of(st.binary(max_size=200), values.map(written)))
@EXAMPLES
async def test_any_body(site: Api, content: bytes) -> None:
    await send(site, content)


requests = st.fixed_dictionaries(
    {},
    optional={
        "query": st.sampled_from([document(name) for name in documents()]) | values,
        "variables": st.dictionaries(
            st.sampled_from(["input", "organizationId", "first", "after", "filter"]), values
        )
        | values,
        "operationName": texts | values,
        "extensions": values,
    },
)


@given(
    requests,
    st.sampled_from(["application/json", "application/graphql-response+json", "*/*;q=0.1"]),
)
@EXAMPLES
async def test_any_request(site: Api, request_: dict[str, Any], accept: str) -> None:
    await send(site, written(request_), accept=accept)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Take a document of the contract and cut, double, swap or insert pieces of it."""
    text = draw(st.sampled_from([document(name) for name in documents()]))
    pieces = ["{", "}", "(", ")", "...", "on", "$", "@skip(if: true)", '"', '"""', "#", ":", "!"]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        kind = draw(st.sampled_from(["cut", "double", "insert", "upper", "move"]))
        if kind == "cut":
            text = text[:start] + text[end:]
        elif kind == "double":
            text = text[:end] + text[start:end] + text[end:]
        elif kind == "insert":
            text = text[:start] + draw(st.sampled_from(pieces) | texts) + text[start:]
        elif kind == "upper":
            text = text[:start] + text[start:end].upper() + text[end:]
        else:
            text = text[start:end] + text[:start] + text[end:]
    return text


@given(mutated(), st.dictionaries(st.sampled_from(["organizationId", "input", "id"]), values))
@EXAMPLES
async def test_any_document(site: Api, query: str, variables: dict[str, Any]) -> None:
    await send(site, written({"query": query, "variables": variables}))


def near(type_: Any) -> st.SearchStrategy[Any]:
    """Return values of an input type, some right and some not."""
    if isinstance(type_, GraphQLNonNull):
        return near(type_.of_type)
    if isinstance(type_, GraphQLInputObjectType):
        return st.fixed_dictionaries(
            {},
            optional={name: near(field.type) for name, field in type_.fields.items()},
        ).map(lambda fields: {"organizationId": ORGANIZATION, "idempotencyKey": "k"} | fields)
    name = str(type_)
    right: dict[str, st.SearchStrategy[Any]] = {
        "ID": st.just(ORGANIZATION),
        "Credits": st.decimals(-10, 10, places=6).map(str),
        "Int": st.integers(-(2**31), 2**31 - 1),
        "DateTime": st.datetimes().map(lambda instant: f"{instant.isoformat()}Z"),
        "JSON": st.dictionaries(texts, values, max_size=3),
        "Boolean": st.booleans(),
    }
    return right.get(name, texts) | values


def variables_of(operation: str) -> st.SearchStrategy[dict[str, Any]]:
    definition = parse(document(operation)).definitions[0]
    assert isinstance(definition, OperationDefinitionNode)
    return st.fixed_dictionaries(
        {
            variable.variable.name.value: near(type_from_ast(SCHEMA, variable.type))
            for variable in definition.variable_definitions or ()
        }
    )


OPERATIONS = [name for name in documents() if not name.endswith(("Updated", "Added"))]


@given(
    st.sampled_from(OPERATIONS).flatmap(lambda name: st.tuples(st.just(name), variables_of(name)))
)
@settings(EXAMPLES, max_examples=150)
async def test_any_variables(
    site: Api, organization: str, asked: tuple[str, dict[str, Any]]
) -> None:
    operation, variables = asked
    content = written({"query": document(operation), "variables": variables})
    await send(site, content.replace(ORGANIZATION.encode(), organization.encode()))


headers = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
).map(str.strip)


@given(st.sampled_from(["accept", "authorization", "x-request-id", "origin", "cookie"]), headers)
@EXAMPLES
async def test_any_header(site: Api, name: str, value: str) -> None:
    response = await site.http.post(
        "/graphql",
        json={"query": "{ __typename }"},
        headers={name.encode(): value.encode("latin-1")},
    )
    assert response.status_code in {200, 400, 401, 406}
    if response.status_code != 200:
        [error] = response.json()["errors"]
        assert error["extensions"]["code"] in {"BAD_REQUEST", "UNAUTHENTICATED", "NOT_ACCEPTABLE"}


@given(st.dictionaries(st.sampled_from(["query", "variables", "operationName", "x"]), texts))
@EXAMPLES
async def test_any_query_string(site: Api, params: dict[str, str]) -> None:
    response = await site.http.get("/graphql", params=params, headers=site.headers())
    assert response.status_code in {200, 400}
    body = response.json()
    for error in body.get("errors", ()):
        assert error["extensions"]["code"] in {"BAD_REQUEST", "GRAPHQL_INVALID"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_fuzzer_knows_the_variables_of_every_document(operation: str) -> None:
    assert variables_of(operation) is not None
