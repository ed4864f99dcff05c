"""What a document may cost: page sizes multiplied, known before it runs, told with its answer."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.main import make_engine
from app.settings import Settings
from db.driver import Connection
from schema import documents
from schema.cost import cost_of
from schema.documents import Operation
from tests.conftest import Servers
from tests.graphql.requests import Requests, everything
from tests.support.api import Api, document, serving, settings_for, unique
from tests.support.api import documents as operations
from tests.support.callers import Caller, Tenants
from tests.support.ways import MUTATING, Way, ask

ENGINE = make_engine(Settings(_env_file=None))
LIMIT = 100
PAGE = "{ nodes { id } }"


def cost(text: str, variables: dict[str, Any] | None = None) -> int:
    nobody: Any = None
    operation = ENGINE.operation({"query": text}, nobody)
    assert isinstance(operation, Operation), operation
    return operation.cost.of(variables)


FIXED = {
    # Leaves cost nothing, an object 1.
    "{ __typename }": 0,
    "{ __schema { types { name fields { name } } } }": 0,
    '{ organization(id: "1") { id name } }': 1,
    '{ organization(id: "1") { creditBalance { available reserved } } }': 2,
    # A page costs itself, and what it may hold: 20 if nothing is said.
    f"{{ projects {PAGE} }}": 21,
    f"{{ projects(first: 1) {PAGE} }}": 2,
    f"{{ projects(first: 100) {PAGE} }}": 101,
    "{ projects(first: 7) { pageInfo { endCursor } } }": 2,
    "{ projects(first: 7) { edges { cursor node { id } } } }": 15,
    # What is out of range is refused where it is read; it makes nothing cheap before that.
    f"{{ projects(first: 1000000) {PAGE} }}": 101,
    f"{{ projects(first: -5) {PAGE} }}": 1,
    # A total is counted.
    "{ projects(first: 7) { totalCount } }": 11,
    # Lists in lists multiply; one without a page of its own is taken for five.
    "{ organizations(first: 7) { nodes { creditBalance { available } } } }": 15,
    "{ organizations(first: 7) { nodes { a: creditBalance { available }"
    " b: creditBalance { available } } } }": 22,
    '{ creditTransactions(organizationId: "1", first: 7) { nodes { drawn { amount } } } }': 43,
    '{ creditTransactions(organizationId: "1", first: 7) { edges { node { drawn { grantId } } } }'
    " }": 50,
    # An alias is a field like any other.
    f"{{ a: projects {PAGE} b: projects {PAGE} c: projects {PAGE} }}": 63,
    # Fragments cost where they are spread, each time.
    f"{{ ...f }} fragment f on Query {{ projects(first: 7) {PAGE} }}": 8,
    "{ projects(first: 7) { ...f ...f ... { nodes { id } } } }"
    " fragment f on ProjectConnection { nodes { id } }": 22,
    '{ organization(id: "1") { ... on Organization { ...f } } }'
    " fragment f on Organization { creditBalance { available } }": 2,
    # Also what is skipped: whether it is may depend on the request, a bound does not.
    f"{{ projects(first: 7) @skip(if: true) {PAGE} }}": 8,
    f"{{ projects(first: 7) @include(if: false) {PAGE} }}": 8,
    "query ($c: Boolean!) { projects(first: 7) { totalCount @include(if: $c) } }": 11,
    # Each root field of a mutation, and of a subscription, 10 beside its objects.
    'mutation { revokeKey(input: {keyId: "1"}) { __typename } }': 11,
    'mutation { a: revokeKey(input: {keyId: "1"}) { __typename }'
    ' ... { b: revokeKey(input: {keyId: "1"}) { ... on RevokeKeySuccess { key { id } }'
    " ... on Refusal { code } } } __typename }": 23,
    'subscription { creditBalanceUpdated(organizationId: "1") { version } }': 11,
}


@pytest.mark.parametrize("text", FIXED)
def test_a_document_costs_what_it_may_look_up(text: str) -> None:
    assert cost(text) == FIXED[text]
    # Whatever is sent with it: none of them has a page size in a variable.
    assert cost(text, {"first": 100, "c": True}) == FIXED[text]


NESTED = "nodes { creditBalance { available } }"
TWICE = f"""
query ($n: Int!) {{ ...f }}
fragment f on Query {{ organizations(first: $n) {{ {NESTED} }} }}
"""
BOTH = f"""
query ($n: Int!, $m: Int! = 3) {{
  projects(first: $n) {PAGE} organizations(first: $m) {{ {NESTED} }}
}}
"""
PAGED = f"query ($n: Int!) {{ projects(first: $n) {PAGE} }}"
DEFAULTED = f"query ($n: Int! = 7) {{ projects(first: $n) {PAGE} }}"


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        (PAGED, {"n": 1}, 2),
        (PAGED, {"n": 100}, 101),
        (PAGED, {"n": 2**31 - 1}, 101),
        (PAGED, {"n": -1}, 1),
        # Not sent, or none: the field's own default; it is refused where it is read.
        (PAGED, None, 21),
        (PAGED, {"n": None}, 21),
        (PAGED, {"n": "5"}, 21),
        (PAGED, {"n": True}, 21),
        (PAGED, {"n": 5.0}, 21),
        (PAGED, {"n": [5]}, 21),
        (DEFAULTED, None, 8),
        (DEFAULTED, {}, 8),
        (DEFAULTED, {"n": 3}, 4),
        (f"query ($n: Int! = 100000) {{ projects(first: $n) {PAGE} }}", {}, 101),
        # By its name wherever it is used.
        (
            TWICE,
            {"n": 4},
            9,
        ),
        (
            BOTH,
            {"n": 4},
            12,
        ),
    ],
)
def test_a_page_size_may_come_with_the_request(
    text: str, variables: dict[str, Any] | None, expected: int
) -> None:
    assert cost(text, variables) == expected


def test_a_default_that_is_no_page_size_is_not_read_as_one() -> None:
    # An ID may have as many digits as it likes; Python converts 4,300 to a number.
    long = "9" * 5_000
    assert cost(f"query ($id: ID! = {long}) {{ organization(id: $id) {{ id }} }}") == 1


def test_the_documents_of_the_contract_stay_far_below_the_limit() -> None:
    most = {
        name: max(cost(document(name), {"first": 100}), cost(document(name)))
        for name in operations()
    }
    # Lists without pages are taken for five: features of plans, levels of features, models.
    assert max(most.values()) == most["plans"] == 930
    assert most["creditTransactions"] == 812
    assert Settings(_env_file=None).graphql_cost == 5_000


# Over the wire.


@pytest.fixture(scope="module")
async def thrifty_site(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    settings = settings_for(servers.app_url(database_name), servers.redis, graphql_cost=LIMIT)
    async with serving(settings) as served:
        yield served


@pytest.fixture
async def thrifty(thrifty_site: Api, tenants: Tenants) -> Api:
    return replace(thrifty_site, keys=tenants.keys)


@pytest.mark.parametrize("way", Way)
async def test_an_answer_tells_its_cost_and_the_most_there_may_be(way: Way, thrifty: Api) -> None:
    told = await ask(thrifty, way, {"query": PAGED, "variables": {"n": 99}})
    assert told.payload["extensions"] == {"cost": {"requested": 100, "maximum": LIMIT}}
    # Also where what was asked for failed.
    told = await ask(thrifty, way, {"query": '{ organization(id: "x") { id } }'})
    assert told.payload["errors"]
    assert told.payload["extensions"] == {"cost": {"requested": 1, "maximum": LIMIT}}


async def test_what_never_ran_and_what_goes_on_tell_no_cost(thrifty: Api, tenants: Tenants) -> None:
    for query in ("{ nothing }", "{", PAGED):
        told = await ask(thrifty, Way.POST, {"query": query})
        assert told.payload.keys() == {"errors"}
    variables = {"organizationId": str(tenants.organization)}
    for way in (Way.EVENTS, Way.SOCKET):
        body = {"query": document("creditBalanceUpdated"), "variables": variables}
        assert (await ask(thrifty, way, body)).payload.keys() == {"data"}


async def test_a_mutation_tells_its_cost(api: Api, requests: Requests) -> None:
    answered = await api.run("reserveCredits", await requests.variables("reserveCredits"))
    assert answered.code == "OK"
    # The field, its union, the reservation and the balance.
    assert answered.body["extensions"] == {"cost": {"requested": 13, "maximum": 5_000}}


@pytest.mark.parametrize("way", Way)
async def test_a_document_that_may_cost_more_is_refused_with_both_numbers(
    way: Way, thrifty: Api, tenants: Tenants
) -> None:
    hot = {"organizationId": str(tenants.organization)}
    for body, requested in (
        ({"query": PAGED, "variables": {"n": 100}}, 101),
        ({"query": f"{{ projects(first: 100) {PAGE} }}"}, 101),
        ({"query": f"{{ a: projects(first: 50) {PAGE} b: projects(first: 50) {PAGE} }}"}, 102),
        ({"query": document("projects"), "variables": {"first": 89}}, 101),
        # Of those that are answered by one statement, too.
        (
            {"query": document("creditTransactions"), "variables": hot | {"first": 11}},
            11 * 8 + 12,
        ),
        (
            {"query": document("creditTransactions"), "variables": hot | {"first": 12}},
            12 * 8 + 12,
        ),
    ):
        told = await ask(thrifty, way, body)
        if requested <= LIMIT:
            assert told.payload["extensions"]["cost"]["requested"] == requested
            continue
        assert told.error["message"] == f"The document has more than {LIMIT} points of cost."
        facts = {name: told.error["extensions"][name] for name in ("code", "limit", "requested")}
        assert facts == {"code": "QUERY_TOO_COMPLEX", "limit": LIMIT, "requested": requested}


@pytest.mark.parametrize("way", MUTATING)
async def test_mutations_that_may_cost_more_are_refused_whole(
    way: Way, thrifty: Api, admin: Connection
) -> None:
    def creating(count: int) -> str:
        fields = " ".join(
            f'm{n}: createProject(input: {{slug: "{unique("p")}", name: "x",'
            f' idempotencyKey: "{unique()}"}}) {{ __typename }}'
            for n in range(count)
        )
        return f"mutation {{ {fields} }}"

    before = await everything(admin)
    told = await ask(thrifty, way, {"query": creating(10)})
    assert (told.code, told.error["extensions"]["requested"]) == ("QUERY_TOO_COMPLEX", 110)
    assert await everything(admin) == before
    told = await ask(thrifty, way, {"query": creating(9)})
    assert set(told.data) == {f"m{n}" for n in range(9)}
    assert told.payload["extensions"]["cost"]["requested"] == 99


async def test_a_cost_is_worked_out_once_for_each_document(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_out: list[str | None] = []
    work_out = cost_of

    def spy(schema: Any, node: Any, fragments: Any) -> Any:
        worked_out.append(None if node.name is None else node.name.value)
        return work_out(schema, node, fragments)

    monkeypatch.setattr(documents, "cost_of", spy)
    name = unique("q").replace("-", "_")
    text = f"query {name}($n: Int!) {{ projects(first: $n) {PAGE} }} query {name}2 {{ __typename }}"
    for first in (1, 2, 3):
        for caller in (Caller.ADMIN, Caller.PROJECT):
            told = await ask(
                api,
                Way.POST,
                {"query": text, "variables": {"n": first}, "operationName": name},
                caller,
            )
            assert told.payload["extensions"]["cost"]["requested"] == first + 1
    assert worked_out == [name, f"{name}2"]
    worked_out.clear()
    await api.run("projects", {"first": 3})
    assert worked_out == []
