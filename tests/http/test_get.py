"""Queries by GET: not for a page of another site to send in a person's name."""

from collections.abc import AsyncIterator

import httpx
import pytest

from db.driver import Connection
from schema.protocol import PREFLIGHTED
from tests.graphql.requests import everything
from tests.support.api import Api, document, unique
from tests.support.callers import ADMIN_KEY

QUERY = {"query": "{ __typename }"}
# Any value will do, but of the one that is a key.
ACCEPTED = {
    "authorization": f"Bearer {ADMIN_KEY}",
    "graphql-require-preflight": "1",
    "apollo-require-preflight": "true",
    "x-apollo-operation-name": "Query",
}
# What a page of another site can have a browser send without asking first.
UNASKED = {
    "accept": "application/json",
    "accept-language": "de",
    "content-language": "de",
    "cookie": "session=of-the-person",
    "origin": "https://app.example",
    "referer": "https://app.example/",
    "x-requested": "1",
}
ORIGIN = "https://app.example"


def code_of(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    return str(error["extensions"]["code"])


def test_each_header_that_is_accepted_has_a_value_here() -> None:
    assert set(ACCEPTED) == set(PREFLIGHTED)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
async def test_a_get_without_such_a_header_is_refused(accept: str, site: Api) -> None:
    for params in (
        QUERY,
        {"documentId": "x"},
        {"query": document("projects"), "variables": '{"first": 1}'},
        {"query": "mutation { __typename }"},
        {"query": "{"},
    ):
        response = await site.http.get(
            "/graphql", params=params, headers=UNASKED | {"accept": accept}
        )
        assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")
        assert response.headers["content-type"] == "application/json"
        assert "`GraphQL-Require-Preflight: 1`" in response.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ACCEPTED)
async def test_any_one_of_the_headers_will_do(name: str, site: Api) -> None:
    for spelt in (name, name.title(), name.upper()):
        response = await site.http.get("/graphql", params=QUERY, headers={spelt: ACCEPTED[name]})
        assert (response.status_code, response.json()["data"]) == (200, {"__typename": "Query"})
    if name != "authorization":
        response = await site.http.get("/graphql", params=QUERY, headers={name: ""})
        assert response.status_code == 200


@pytest.fixture
async def mutations(admin: Connection) -> AsyncIterator[list[dict[str, str]]]:
    """Ways to ask for a mutation in a URL; none of them moves anything."""
    create = (
        f'createProject(input: {{slug: "{unique("p")}", name: "x", idempotencyKey: "k"}})'
        " { __typename }"
    )
    before = await everything(admin)
    yield [
        {"query": f"mutation {{ {create} }}"},
        {"query": f"query A {{ __typename }} mutation B {{ {create} }}", "operationName": "B"},
        {"query": f"mutation M {{ ...f }} fragment f on Mutation {{ {create} }}"},
        {
            "query": document("createProject"),
            "variables": '{"input": {"slug": "by-get", "name": "x", "idempotencyKey": "k"}}',
        },
    ]
    assert await everything(admin) == before


@pytest.mark.parametrize("name", ACCEPTED)
async def test_no_header_makes_a_mutation_by_get(
    name: str, site: Api, mutations: list[dict[str, str]]
) -> None:
    key = {"authorization": f"Bearer {ADMIN_KEY}"}
    for params in mutations:
        for accept in ("application/json", "text/event-stream"):
            headers = key | {name: ACCEPTED[name], "accept": accept}
            response = await site.http.get("/graphql", params=params, headers=headers)
            assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
            assert response.headers["allow"] == "POST"


# Of a browser that asks first.


def asking(origin: str, method: str, headers: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }


@pytest.mark.parametrize("name", [*ACCEPTED, "content-type", "x-request-id"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_of_an_allowed_origin_may_send_each_header(
    method: str, name: str, production: Api
) -> None:
    asked = await production.http.options("/graphql", headers=asking(ORIGIN, method, name))
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    allowed = {each.strip() for each in asked.headers["access-control-allow-headers"].split(",")}
    assert name in {each.lower() for each in allowed}
    # All at once, as clients do.
    every = ",".join([*ACCEPTED, "content-type"])
    asked = await production.http.options("/graphql", headers=asking(ORIGIN, method, every))
    assert asked.status_code == 200
    headers = {"origin": ORIGIN, "graphql-require-preflight": "1"}
    answered = await production.http.get("/graphql", params=QUERY, headers=headers)
    assert answered.json()["data"] == {"__typename": "Query"}
    assert answered.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_page_of_another_origin_may_send_none(name: str, production: Api) -> None:
    for origin in ("https://evil.example", "null", "http://app.example"):
        asked = await production.http.options("/graphql", headers=asking(origin, "GET", name))
        assert asked.status_code == 400
        assert "access-control-allow-origin" not in asked.headers
        # Nor read what an old browser that did not ask would be told.
        answered = await production.http.get("/graphql", params=QUERY, headers={"origin": origin})
        assert (answered.status_code, code_of(answered)) == (400, "BAD_REQUEST")
        assert "access-control-allow-origin" not in answered.headers
