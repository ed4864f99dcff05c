"""Headers of every answer: request ids, safety, other origins; and paths that are none."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import Servers
from tests.support.api import Api, serving, settings_for

SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'"
HTTPS_ONLY = "strict-transport-security"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ORIGIN = "https://app.example"


async def ask(api: Api, method: str, path: str, **more: Any) -> httpx.Response:
    return await api.http.request(method, path, **more)


ANSWERS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "answer": ("POST", "/graphql", 200, {"json": {"query": "{ __typename }"}}),
    "error": ("POST", "/graphql", 200, {"json": {"query": "{ nothing }"}}),
    "malformed": ("POST", "/graphql", 400, {"json": []}),
    "bad key": (
        "POST",
        "/graphql",
        401,
        {"json": {"query": "{ __typename }"}, "headers": {"authorization": "Bearer x"}},
    ),
    "no such path": ("GET", "/nothing", 404, {}),
    "no such method": ("PUT", "/graphql", 405, {}),
    "not acceptable": ("POST", "/graphql", 406, {"json": {}, "headers": {"accept": "text/csv"}}),
    "too large": ("POST", "/graphql", 413, {"json": {"query": "x" * 300_000}}),
    "media type": ("POST", "/graphql", 415, {"content": b"x"}),
    "page": ("GET", "/graphql", 200, {"headers": {"accept": "text/html"}}),
    "asset": ("GET", "/graphiql/graphiql.css", 200, {}),
    "health": ("GET", "/health", 200, {}),
    "metrics": ("GET", "/metrics", 200, {}),
    "redirect": ("POST", "/graphql/", 307, {"json": {}}),
    "no such asset": ("GET", "/graphiql/nothing.js", 404, {}),
    "not unasked": ("GET", "/graphql?query=%7B__typename%7D", 400, {}),
    "mutation by get": (
        "GET",
        "/graphql?query=mutation%7B__typename%7D",
        405,
        {"headers": {"graphql-require-preflight": "1"}},
    ),
    "head": ("HEAD", "/graphql", 405, {}),
    "no such digest": ("POST", "/graphql", 400, {"json": {"documentId": "x"}}),
    "not for this origin": (
        "OPTIONS",
        "/graphql",
        400,
        {"headers": {"origin": "https://evil.example", "access-control-request-method": "GET"}},
    ),
    "refused events": (
        "POST",
        "/graphql",
        400,
        {"json": [], "headers": {"accept": "text/event-stream"}},
    ),
    "events": (
        "POST",
        "/graphql",
        200,
        {"json": {"query": "{ __typename }"}, "headers": {"accept": "text/event-stream"}},
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_every_answer_is_safe_and_has_an_id(what: str, site: Api) -> None:
    method, path, status, more = ANSWERS[what]
    response = await ask(site, method, path, **more)
    assert response.status_code == status
    assert {name: response.headers[name] for name in SAFE} == SAFE
    assert UUID.fullmatch(response.headers["x-request-id"])
    assert "server" not in response.headers
    [policy] = response.headers.get_list("content-security-policy")
    assert (policy == DATA_POLICY) == (what not in ("page", "asset"))
    assert HTTPS_ONLY not in response.headers


@pytest.mark.parametrize("what", ANSWERS)
async def test_in_production_browsers_are_told_to_come_by_https_alone(
    what: str, production: Api
) -> None:
    method, path, _, more = ANSWERS[what]
    response = await ask(production, method, path, **more)
    assert {name: response.headers[name] for name in SAFE} == SAFE
    assert response.headers[HTTPS_ONLY] == "max-age=31536000; includeSubDomains"
    # There is no page, so nothing needs a policy of its own.
    assert response.headers.get_list("content-security-policy") == [DATA_POLICY]


async def test_a_fault_is_answered_with_a_code_and_an_id(
    site: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("postgresql://app:hunter2@db.internal")

    class Log:
        def exception(self, event: str, **facts: Any) -> None:
            logged.append((event, facts["path"], facts["error"]))

        def info(self, *_: Any, **__: Any) -> None:
            pass

    logged: list[tuple[str, str, str]] = []
    monkeypatch.setattr("app.http.log", Log())
    # In the edge itself: beyond all that catches what resolvers raise.
    monkeypatch.setattr("schema.edge.negotiate", fail)
    response = await ask(site, "POST", "/graphql", json={"query": "{ __typename }"})
    assert response.status_code == 500
    assert {name: response.headers[name] for name in SAFE} == SAFE
    [error] = response.json()["errors"]
    assert error["extensions"] == {
        "code": "INTERNAL",
        "requestId": response.headers["x-request-id"],
    }
    assert "hunter2" not in response.text
    assert logged == [("http.failed", "/graphql", "RuntimeError")]


GOOD_IDS = ["a", "A-z.0_9:", "x" * 128, "01a1fd61-a889-7b2f-8b21-e434a364c5a5"]
BAD_IDS = ["", "a b", "x" * 129, "a/b", 'a"b', "a;b", "<script>", "ü", "a\tb", "a,b"]


@pytest.mark.parametrize("given", GOOD_IDS)
async def test_an_id_that_comes_with_a_request_goes_back_with_its_answer(
    given: str, site: Api
) -> None:
    response = await ask(
        site, "POST", "/graphql", json={"query": "{ nothing }"}, headers={"x-request-id": given}
    )
    assert response.headers["x-request-id"] == given
    assert response.json()["errors"][0]["extensions"]["requestId"] == given


@pytest.mark.parametrize("given", BAD_IDS)
async def test_an_id_of_another_form_is_replaced(given: str, site: Api) -> None:
    response = await ask(
        site,
        "POST",
        "/graphql",
        json={"query": "{ nothing }"},
        headers={"x-request-id": given.encode("latin-1")},
    )
    made = response.headers["x-request-id"]
    assert UUID.fullmatch(made)
    assert response.json()["errors"][0]["extensions"]["requestId"] == made


async def test_no_two_requests_get_the_same_id(site: Api) -> None:
    ids = {(await ask(site, "GET", "/health/live")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


PATHS = ["/", "/graphq", "/graphql/x", "/GraphQL", "/%00", "/%2e%2e", "/docs", "/openapi.json"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_unknown_path_is_a_coded_404(path: str, site: Api) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = await ask(site, method, path)
        assert (response.status_code, response.headers["content-type"]) == (
            404,
            "application/json",
        )
        [error] = response.json()["errors"]
        assert error["extensions"] == {
            "code": "NOT_FOUND",
            "requestId": response.headers["x-request-id"],
        }


async def test_a_slash_too_many_leads_to_the_right_path(site: Api) -> None:
    response = await ask(site, "POST", "/graphql/", json={"query": "{ __typename }"})
    assert (response.status_code, response.headers["location"]) == (307, f"{site.url}/graphql")


# Other origins.


def preflight(origin: str, **headers: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-request-id",
        **headers,
    }


async def test_a_front_end_that_is_named_may_ask(production: Api) -> None:
    asked = await ask(production, "OPTIONS", "/graphql", headers=preflight(ORIGIN))
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert set(asked.headers["access-control-allow-methods"].split(", ")) == {"GET", "POST"}
    allowed = asked.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "x-request-id"} <= set(allowed.split(", "))
    assert "access-control-allow-credentials" not in asked.headers
    answered = await ask(
        production, "POST", "/graphql", json={"query": "{ __typename }"}, headers={"origin": ORIGIN}
    )
    assert answered.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answered.headers["access-control-expose-headers"]
    assert "origin" in answered.headers["vary"].lower()


async def test_a_front_end_that_is_named_can_read_errors_too(production: Api) -> None:
    for what in ("malformed", "bad key", "not acceptable", "no such path", "too large"):
        method, path, status, more = ANSWERS[what]
        headers = {**more.get("headers", {}), "origin": ORIGIN}
        response = await ask(production, method, path, **{**more, "headers": headers})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN, what


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "https://sub.app.example",
        "null",
    ],
)
async def test_other_origins_may_not(origin: str, production: Api) -> None:
    asked = await ask(production, "OPTIONS", "/graphql", headers=preflight(origin))
    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers
    answered = await ask(
        production, "POST", "/graphql", json={"query": "{ __typename }"}, headers={"origin": origin}
    )
    assert "access-control-allow-origin" not in answered.headers


async def test_a_method_or_header_that_is_not_named_may_not_cross(production: Api) -> None:
    for wrong in (
        {"access-control-request-method": "DELETE"},
        {"access-control-request-headers": "x-other"},
    ):
        headers = preflight(ORIGIN) | wrong
        asked = await ask(production, "OPTIONS", "/graphql", headers=headers)
        assert asked.status_code == 400


async def test_nobody_may_cross_where_no_origin_is_named(site: Api) -> None:
    asked = await ask(site, "OPTIONS", "/graphql", headers=preflight(ORIGIN))
    assert "access-control-allow-origin" not in asked.headers


@pytest.fixture(scope="module")
async def open_to_all(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    settings = settings_for(servers.app_url(database_name), servers.redis, allowed_origins=["*"])
    async with serving(settings) as served:
        yield served


async def test_a_developer_may_let_everybody_cross(open_to_all: Api) -> None:
    asked = await ask(open_to_all, "OPTIONS", "/graphql", headers=preflight("https://any.example"))
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-credentials" not in asked.headers
