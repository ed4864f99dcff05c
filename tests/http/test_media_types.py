"""Which media types are taken, which are served, and what status goes with which."""

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.callers import Caller

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
QUERY = "{ projects { nodes { id } } }"

SERVED = {
    None: JSON,
    "": JSON,
    "*/*": JSON,
    "application/*": JSON,
    "application/json": JSON,
    "Application/JSON": JSON,
    "application/json; charset=utf-8": JSON,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": JSON,
    "text/html": JSON,
    "text/csv, */*;q=0.1": JSON,
    GRAPHQL: GRAPHQL,
    f"{GRAPHQL};charset=utf-8": GRAPHQL,
    f"{GRAPHQL}, {JSON};q=0.9": GRAPHQL,
    f"{JSON};q=0.9, {GRAPHQL}": GRAPHQL,
    f"{JSON}, {GRAPHQL};q=0.9": JSON,
    f"{JSON};q=0.001, text/csv": JSON,
    f"{JSON};q=0, */*": GRAPHQL,
    f"{JSON};q=nonsense, {GRAPHQL};q=0.1": GRAPHQL,
    f"{JSON};q=nan, {GRAPHQL};q=0.1": GRAPHQL,
    f"{JSON};q=2, {GRAPHQL};q=0.1": GRAPHQL,
    f",, {GRAPHQL} ,": GRAPHQL,
}
NOT_SERVED = [
    "text/csv",
    "text/plain",
    "image/*",
    "multipart/mixed",
    "application/xml",
    f"{JSON};q=0",
    f"{JSON};q=0, {GRAPHQL};q=0.0, */*",
    "nonsense",
    ",",
]
NOT_TAKEN = [
    None,
    "",
    ";",
    "text/plain",
    "text/json",
    "application/graphql",
    "application/jsonp",
    "application/json, text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    GRAPHQL,
]


async def post(api: Api, accept: str | None, **body: Any) -> Any:
    headers = api.headers(Caller.ADMIN)
    # Without the client's own.
    api.http.headers.pop("accept", None)
    if accept is not None:
        headers["accept"] = accept
    return await api.http.post("/graphql", json=body, headers=headers)


@pytest.mark.parametrize(("accept", "served"), SERVED.items())
async def test_the_client_is_served_what_it_likes_best(
    accept: str | None, served: str, site: Api
) -> None:
    response = await post(site, accept, query=QUERY)
    assert (response.status_code, response.headers["content-type"]) == (200, served)
    assert response.json()["data"] == {"projects": {"nodes": []}}


async def test_several_accept_headers_are_one(site: Api) -> None:
    headers = [
        *site.headers(Caller.ADMIN).items(),
        ("accept", "text/csv"),
        ("accept", GRAPHQL),
    ]
    response = await site.http.post("/graphql", json={"query": QUERY}, headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, GRAPHQL)


@pytest.mark.parametrize("accept", NOT_SERVED)
async def test_who_accepts_nothing_we_serve_is_told_in_json(accept: str, site: Api) -> None:
    response = await post(site, accept, query=QUERY)
    assert (response.status_code, response.headers["content-type"]) == (406, JSON)
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "NOT_ACCEPTABLE"


@pytest.mark.parametrize("kind", [JSON, "APPLICATION/JSON", "application/json ; charset=utf-8"])
async def test_json_is_taken(kind: str, site: Api) -> None:
    headers = site.headers(Caller.ADMIN, content_type=kind)
    response = await site.http.post(
        "/graphql", content=b'{"query": "{ __typename }"}', headers=headers
    )
    assert response.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize("kind", NOT_TAKEN)
async def test_nothing_but_json_is_taken(kind: str | None, site: Api) -> None:
    headers = site.headers(Caller.ADMIN)
    if kind is not None:
        headers["content-type"] = kind
    response = await site.http.post(
        "/graphql", content=b'{"query": "{ __typename }"}', headers=headers
    )
    assert (response.status_code, response.headers["content-type"]) == (415, JSON)
    [error] = response.json()["errors"]
    assert error["extensions"]["code"] == "UNSUPPORTED_MEDIA_TYPE"


# What is wrong with a request before anything is executed.
NEVER_RUN: dict[str, dict[str, Any]] = {
    "syntax": {"query": "{"},
    "unknown field": {"query": "{ nothing }"},
    "unknown fragment": {"query": "{ ...nothing }"},
    "variable missing": {"query": "query ($id: ID!) { organization(id: $id) { id } }"},
    "variable null": {
        "query": "query ($id: ID!) { organization(id: $id) { id } }",
        "variables": {"id": None},
    },
    "variable of another type": {
        "query": "query ($first: Int!) { projects(first: $first) { nodes { id } } }",
        "variables": {"first": "2"},
    },
    "amount unreadable": {
        "query": "query ($id: ID!, $a: Credits!)"
        " { creditBalanceCheck(organizationId: $id, amount: $a) { required } }",
        "variables": {"id": "x", "a": "NaN"},
    },
    "too many aliases": {"query": "{" + " ".join(f"a{n}: __typename" for n in range(31)) + "}"},
    "too many tokens": {"query": "{" + "__typename " * 2_001 + "}"},
}


@pytest.mark.parametrize("what", NEVER_RUN)
async def test_a_request_that_never_ran_has_no_data(what: str, site: Api) -> None:
    for accept, status in ((GRAPHQL, 400), (JSON, 200)):
        response = await post(site, accept, **NEVER_RUN[what])
        assert (response.status_code, response.headers["content-type"]) == (status, accept)
        body = response.json()
        assert body.keys() == {"errors"}
        assert all(error["extensions"]["code"] for error in body["errors"])


@pytest.mark.parametrize("accept", [JSON, GRAPHQL, f"multipart/mixed, {JSON};q=0.5"])
async def test_nothing_is_deferred_and_no_answer_comes_in_parts(accept: str, site: Api) -> None:
    query = "{ projects { ... @defer { nodes { id } } } }"
    response = await post(site, accept, query=query)
    assert response.headers["content-type"] in {JSON, GRAPHQL}
    [error] = response.json()["errors"]
    assert error["message"] == "Unknown directive '@defer'."


async def test_a_request_that_ran_is_answered_200_whatever_came_of_it(site: Api) -> None:
    for accept in (GRAPHQL, JSON):
        response = await post(site, accept, query='{ organization(id: "x") { id } }')
        assert (response.status_code, response.headers["content-type"]) == (200, accept)
        body = response.json()
        assert body["data"] is None
        assert body["errors"][0]["path"] == ["organization"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "query A { __typename } query B { __typename }"},
        {"query": "query A { __typename } query B { __typename }", "operationName": "C"},
        {"query": "query A { __typename }", "operationName": "B"},
        {"query": "fragment A on Query { __typename }"},
    ],
)
async def test_without_one_operation_to_run_a_request_is_malformed(
    body: dict[str, Any], site: Api
) -> None:
    for accept in (GRAPHQL, JSON):
        response = await post(site, accept, **body)
        assert (response.status_code, response.headers["content-type"]) == (400, accept)
        assert response.json().keys() == {"errors"}
        assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_one_of_several_operations_runs_by_its_name(site: Api) -> None:
    query = "query A { a: __typename } query B { b: __typename }"
    response = await post(site, JSON, query=query, operationName="B")
    assert response.json()["data"] == {"b": "Query"}
    # An empty name is a name, of none.
    response = await post(site, JSON, query="query A { a: __typename }", operationName="")
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


async def test_a_bad_key_is_told_how_to_sign_in(site: Api) -> None:
    for authorization in ("Bearer x", "Bearer", "Basic YTpi", "x", "bearer \t."):
        response = await site.http.post(
            "/graphql", json={"query": QUERY}, headers={"authorization": authorization}
        )
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        [error] = response.json()["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
