"""Malformed requests: each is told what is wrong, in JSON, and never by a 5xx."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.api import Api, unique
from tests.support.callers import Caller

LIMIT = 262_144
OK = {
    "data": {"__typename": "Query"},
    "extensions": {"cost": {"requested": 0, "maximum": 5_000}},
}

MALFORMED = {
    "nothing": b"",
    "space": b"  \n",
    "half": b'{"query": "{ __type',
    "string": b'"x"',
    "null": b"null",
    "number": b"5",
    "true": b"true",
    "array": b"[]",
    "batch": b'[{"query": "{ __typename }"}, {"query": "{ __typename }"}]',
    "empty object": b"{}",
    "query missing": b'{"variables": {}}',
    "query null": b'{"query": null}',
    "query empty": b'{"query": ""}',
    "query number": b'{"query": 5}',
    "query list": b'{"query": ["{ __typename }"]}',
    "query object": b'{"query": {}}',
    "variables string": b'{"query": "{ __typename }", "variables": "{}"}',
    "variables list": b'{"query": "{ __typename }", "variables": []}',
    "variables number": b'{"query": "{ __typename }", "variables": 0}',
    "variables false": b'{"query": "{ __typename }", "variables": false}',
    "operationName number": b'{"query": "{ __typename }", "operationName": 5}',
    "operationName list": b'{"query": "{ __typename }", "operationName": []}',
    "operationName object": b'{"query": "{ __typename }", "operationName": {}}',
    "operationName false": b'{"query": "{ __typename }", "operationName": false}',
    "extensions string": b'{"query": "{ __typename }", "extensions": "x"}',
    "extensions list": b'{"query": "{ __typename }", "extensions": []}',
    "not UTF-8": b'{"query": "{ __typename } # \xff"}',
    "Latin-1": '{"query": "{ __typename } # ü"}'.encode("latin-1"),
    "UTF-16": '{"query": "{ __typename }"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"query": "{ __typename }"}',
    "lone surrogate": b'{"query": "{ __typename } # \\ud800"}',
    "NaN": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "Infinity": b'{"query": "{ __typename }", "variables": {"a": -Infinity}}',
    "comment": b'{"query": "{ __typename }"} // x',
    "two": b'{"query": "{ __typename }"}{"query": "{ __typename }"}',
    "deep": b'{"query": "{ __typename }", "variables": {"a":'
    + b"[" * 50_000
    + b"]" * 50_000
    + b"}}",
    "form": b"query=%7B__typename%7D",
    "NULs": b"\x00" * 100,
}


async def post(api: Api, content: Any, **headers: str) -> Any:
    sent = api.headers(Caller.ADMIN, content_type="application/json", **headers)
    return await api.http.post("/graphql", content=content, headers=sent)


def code_of(response: Any) -> str:
    assert response.headers["content-type"] == "application/json"
    [error] = response.json()["errors"]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    return str(error["extensions"]["code"])


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_body_that_is_no_request_is_refused(what: str, site: Api) -> None:
    response = await post(site, MALFORMED[what])
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")
    # In the media type that was asked for.
    response = await post(site, MALFORMED[what], accept="application/graphql-response+json")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/graphql-response+json"


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{ __typename }"},
        {"query": "{ __typename }", "variables": None, "operationName": None, "extensions": None},
        {"query": "{ __typename }", "variables": {"unused": [1]}, "extensions": {"any": 1}},
        {"query": "{ __typename }", "surprise": True},
    ],
)
async def test_what_may_be_left_out_may_be_null(body: dict[str, Any], site: Api) -> None:
    assert (await post(site, json.dumps(body).encode())).json() == OK


def padded(size: int) -> bytes:
    """Return a request of so many bytes."""
    body = b'{"query": "{ __typename }", "extensions": {"a": ""}}'
    return body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')


async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
    """Yield a body piece by piece: its length is not announced."""
    for start in range(0, len(content), 16_384):
        yield content[start : start + 16_384]


async def test_a_body_may_have_as_many_bytes_as_the_limit_says(site: Api) -> None:
    assert (await post(site, padded(LIMIT))).json() == OK
    assert (await post(site, in_chunks(padded(LIMIT)))).json() == OK


@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
async def test_a_larger_body_is_refused(size: int, site: Api) -> None:
    response = await post(site, padded(size))
    assert (response.status_code, code_of(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert response.headers["connection"] == "close"
    assert str(LIMIT) in response.json()["errors"][0]["message"]
    # And the next one is served.
    assert (await post(site, padded(100))).json() == OK


@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
async def test_a_larger_body_of_no_announced_length_is_refused(size: int, site: Api) -> None:
    response = await post(site, in_chunks(padded(size)))
    assert (response.status_code, code_of(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert (await post(site, padded(100))).json() == OK


async def raw(api: Api, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; return status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rsplit(":", 1)[1]))
    try:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split(" ")[1]), headers, body
    finally:
        writer.close()


async def test_a_body_that_is_announced_absurdly_large_is_not_waited_for(site: Api) -> None:
    status, headers, body = await raw(
        site,
        b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: 1000000000\r\n\r\n",
    )
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["errors"][0]["extensions"]["code"] == "PAYLOAD_TOO_LARGE"


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_ours(
    site: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    ended = asyncio.Event()

    class Log:
        def exception(self, event: str, **_: Any) -> None:
            faults.append(event)

        def info(self, *_: Any, **__: Any) -> None:
            ended.set()

    monkeypatch.setattr("app.http.log", Log())
    _, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rsplit(":", 1)[1]))
    writer.write(
        b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b'content-length: 100\r\n\r\n{"query":'
    )
    await writer.drain()
    writer.close()
    async with asyncio.timeout(10):
        await ended.wait()
    assert faults == []


# Methods.


async def test_queries_may_be_sent_by_get(site: Api) -> None:
    params = {
        "query": "query Q($first: Int!) { projects(first: $first) { nodes { id } } }",
        "variables": '{"first": 1}',
        "operationName": "Q",
        "extensions": "{}",
    }
    response = await site.http.get("/graphql", params=params, headers=site.headers())
    assert response.json() == {
        "data": {"projects": {"nodes": []}},
        "extensions": {"cost": {"requested": 2, "maximum": 5_000}},
    }


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"query": ""},
        {"query": "{ __typename }", "variables": "{"},
        {"query": "{ __typename }", "variables": "[]"},
        {"query": "{ __typename }", "variables": ""},
        {"query": "{ __typename }", "extensions": "5"},
        {"query": "{ __typename }", "operationName": "Other"},
    ],
)
async def test_a_malformed_get_is_refused(params: dict[str, str], site: Api) -> None:
    response = await site.http.get("/graphql", params=params, headers=site.headers())
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


async def test_a_mutation_by_get_is_refused_and_not_done(site: Api) -> None:
    name = unique("p")
    mutation = (
        f'mutation {{ createProject(input: {{slug: "{name}", name: "x", idempotencyKey: "k"}})'
        " { __typename } }"
    )
    for params in (
        {"query": mutation},
        {
            "query": f"query A {{ __typename }} {mutation.replace('mutation', 'mutation B')}",
            "operationName": "B",
        },
    ):
        response = await site.http.get("/graphql", params=params, headers=site.headers())
        assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
        assert response.headers["allow"] == "POST"
    page = await site.send("{ projects { nodes { slug } } }")
    assert name not in str(page.data)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_subscription_is_told_where_it_can_be_had(method: str, site: Api) -> None:
    query = 'subscription { creditBalanceUpdated(organizationId: "x") { version } }'
    if method == "GET":
        response = await site.http.get("/graphql", params={"query": query}, headers=site.headers())
    else:
        response = await post(site, json.dumps({"query": query}).encode())
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")
    message = response.json()["errors"][0]["message"]
    assert "WebSocket" in message
    assert "text/event-stream" in message


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused_and_told_which_there_are(method: str, site: Api) -> None:
    response = await site.http.request(method, "/graphql", headers=site.headers())
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, POST"
    response = await site.http.request(method, "/health", headers=site.headers())
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET"


async def test_a_head_has_no_body(site: Api) -> None:
    response = await site.http.head("/graphql", headers=site.headers())
    assert (response.status_code, response.content) == (405, b"")


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_several_operations_without_a_name_are_not_guessed_at(accept: str, site: Api) -> None:
    name = unique("p")
    query = (
        f'mutation A {{ createProject(input: {{slug: "{name}", name: "x", idempotencyKey: "k"}})'
        " { __typename } } query B { __typename }"
    )
    response = await post(site, json.dumps({"query": query}).encode(), accept=accept)
    assert '"code":"BAD_REQUEST"' in response.text
    page = await site.send("{ projects { nodes { slug } } }")
    assert name not in str(page.data)
