"""What surrounds a request, from the outside in: each layer sees what those within it do."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.http import Beside, CodedErrors, CrossOrigin, RequestContext
from app.openai import PREFIX, OpenAIEdge
from schema.edge import PATH, Edge
from tests.support.api import Api

ORIGIN = "https://app.example"
SECRET = "postgresql://app:hunter2@db.internal"  # noqa: S105  # what an exception may hold
QUERY = {"query": "{ __typename }"}


async def fail(*_: object, **__: object) -> None:
    raise RuntimeError(SECRET)


def layers(api: Api) -> list[Any]:
    """Return what surrounds a request, the outermost first, down to the framework."""
    found: list[Any] = []
    layer: Any = api.app
    while not isinstance(layer, FastAPI):
        found.append(layer)
        layer = layer.app if isinstance(layer, CrossOrigin) else layer._app
    return found


def framework_of(api: Api) -> FastAPI:
    framework = layers(api)[-1]._app
    assert isinstance(framework, FastAPI)
    return framework


def ways(api: Api) -> list[Any]:
    """Return what stands beside the framework."""
    return [layer for layer in layers(api) if isinstance(layer, Beside)]


def test_the_layers_stand_in_this_order(production: Api) -> None:
    assert [type(layer) for layer in layers(production)] == [
        RequestContext,
        CrossOrigin,
        Beside,
        Beside,
    ]
    # Whichever way, what is within is coded.
    within_each = [
        (type(way._application), type(way._application._app)) for way in ways(production)
    ]
    assert within_each == [(CodedErrors, Edge), (CodedErrors, OpenAIEdge)]
    within: list[object] = [layer.cls for layer in framework_of(production).user_middleware]
    assert within == [CodedErrors]


async def test_the_edge_is_beside_the_framework_and_in_none_of_its_routes(
    production: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [way._path for way in ways(production)] == [PATH, PREFIX] == ["/graphql", "/v1"]

    async def through(self: Beside, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    # Without what stands beside it, the framework knows its own routes only.
    monkeypatch.setattr(Beside, "__call__", through)
    assert (await production.http.get("/health/live")).status_code == 200
    for path in ("/graphql", "/v1/models"):
        response = await production.http.post(path, json=QUERY)
        assert response.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The log lines of requests."""
    written: list[dict[str, Any]] = []

    class Log:
        def info(self, _event: str, **facts: Any) -> None:
            written.append(facts)

        def exception(self, event: str, **facts: Any) -> None:
            written.append(facts | {"event": event})

    monkeypatch.setattr("app.http.log", Log())
    return written


def id_of(response: httpx.Response) -> str:
    assert response.headers["x-content-type-options"] == "nosniff"
    return str(response.headers["x-request-id"])


async def test_what_the_second_layer_answers_itself_has_an_id_and_a_line(
    production: Api, lines: list[dict[str, Any]]
) -> None:
    headers = {"origin": ORIGIN, "access-control-request-method": "POST", "x-request-id": "mine"}
    asked = await production.http.options("/graphql", headers=headers)
    assert (asked.status_code, id_of(asked)) == (200, "mine")
    assert [(line["method"], line["status"]) for line in lines] == [("OPTIONS", 200)]


@pytest.mark.parametrize("way", ["edge", "framework"])
async def test_a_fault_within_is_coded_then_may_cross_and_has_an_id(
    way: str, production: Api, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"origin": ORIGIN, "x-request-id": "mine"}
    if way == "edge":
        monkeypatch.setattr(Edge, "_reply", fail)
        response = await production.http.post("/graphql", json=QUERY, headers=headers)
    else:
        monkeypatch.setattr(framework_of(production).router, "middleware_stack", fail)
        response = await production.http.get("/health", headers=headers)
    [error] = response.json()["errors"]
    assert (response.status_code, error["extensions"]) == (
        500,
        {"code": "INTERNAL", "requestId": "mine"},
    )
    assert "hunter2" not in response.text
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert id_of(response) == "mine"
    assert [line.get("event", line.get("status")) for line in lines] == ["http.failed", 500]


async def test_a_fault_of_v1_is_told_as_its_clients_read_it(
    production: Api, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIEdge, "_serve", fail)
    response = await production.http.get("/v1/models", headers={"origin": ORIGIN})
    assert response.status_code == 500
    assert response.json() == {
        "error": {
            "message": "Something failed on our side. Retry the same request with the same key;"
            " tell the operator the request id.",
            "type": "api_error",
            "param": None,
            "code": "internal",
        }
    }
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert id_of(response)
    assert lines[-1]["status"] == 500


async def test_graphql_does_not_pass_through_the_frameworks_routing(
    production: Api, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framework_of(production).router, "middleware_stack", fail)
    response = await production.http.post("/graphql", json=QUERY)
    assert response.json()["data"] == {"__typename": "Query"}
    assert (await production.http.post("/graphql/", json=QUERY)).status_code == 307
    assert (await production.http.get("/v1/x")).json()["error"]["code"] == "unknown_url"
    # Whatever else there is does.
    for path in ("/graphql/x", "/graphqlx", "/v1x", "/health"):
        assert (await production.http.get(path)).status_code == 500
    statuses = [line["status"] for line in lines if "status" in line]
    assert statuses == [200, 307, 404, 500, 500, 500, 500]
