"""What a serving process writes: one line for each request, and never a secret."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.identity.keys import make_key
from tests.conftest import Servers
from tests.support.api import SECRET_KEY, bearer_of, document, unique
from tests.support.callers import ADMIN_KEY

ROOT = Path(__file__).parents[2]
REQUEST_ID = "log-test-1"


@dataclass
class Process:
    """A server of its own, and every line it has written."""

    http: httpx.AsyncClient
    lines: list[str] = field(default_factory=list)

    async def about(self, request_id: str) -> list[dict[str, Any]]:
        """Return the lines of one request, once the one that ends it is there."""
        for _ in range(1_000):
            found = [json.loads(line) for line in self.lines if request_id in line]
            if any(line["event"] == "http.request" for line in found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"no line about {request_id}: {self.lines}")


@pytest.fixture(scope="module")
async def process(servers: Servers, database_name: str) -> AsyncIterator[Process]:
    """`exchequer serve`, with its log as JSON."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": servers.app_url(database_name),
        "REDIS_URL": servers.redis,
        "PORT": "0",
        "EXCHEQUER_SECRET_KEY": SECRET_KEY,
        "EXCHEQUER_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
        "EXCHEQUER_LOG_LEVEL": "debug",
        **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE")},
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli",
        "serve",
        env=environment,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        assert child.stdout is not None
        async for line in child.stdout:
            lines.append(line.decode())
            found = re.search(r"http://127\.0\.0\.1:\d+", lines[-1])
            if found and not listening.done():
                listening.set_result(found.group())

    reading = asyncio.create_task(read())
    try:
        url = await asyncio.wait_for(listening, 60)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            yield Process(http, lines)
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        await asyncio.wait_for(child.wait(), 30)
        await reading
    # Whatever the tests of this file have sent: nothing secret stands in any line.
    for line in lines:
        for secret in (ADMIN_KEY, SECRET_KEY, "only-for-tests", *SENT):
            assert secret not in line
        assert not re.search(r"exq_[po]_[0-9A-Za-z]{20}", line), line
    assert len(lines) > 10


# Every key that was sent or answered, to be looked for at the end.
SENT: list[str] = []


def unknown_key() -> str:
    key = make_key("project").secret
    SENT.append(key)
    return key


async def test_a_request_is_one_line_with_its_id_and_without_its_query(process: Process) -> None:
    response = await process.http.get(
        "/graphql",
        params={"query": "{ __typename }", "secret": "in-the-query-string"},
        headers={"x-request-id": REQUEST_ID, "graphql-require-preflight": "1"},
    )
    [line] = await process.about(REQUEST_ID)
    assert response.headers["x-request-id"] == REQUEST_ID
    assert line.pop("milliseconds") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "http.request",
        "level": "info",
        "method": "GET",
        "path": "/graphql",
        "request_id": REQUEST_ID,
        "status": 200,
    }
    assert "in-the-query-string" not in "".join(process.lines)


async def test_a_key_that_is_made_is_not_in_the_log(process: Process) -> None:
    slug = unique("p")
    made = await post(process, "createProject", slug=slug, name="x", idempotencyKey=unique())
    project = made["createProject"]["project"]["id"]
    request = {"projectId": project, "name": "x", "idempotencyKey": unique()}
    key = (await post(process, "createProjectKey", **request))["createProjectKey"]["secret"]
    SENT.append(key)
    response = await process.http.post(
        "/graphql", json={"query": "{ projects { nodes { id } } }"}, headers=bearer_of(key)
    )
    assert response.json()["data"]["projects"]["nodes"] == [{"id": project}]


async def post(process: Process, operation: str, **fields: Any) -> dict[str, Any]:
    response = await process.http.post(
        "/graphql",
        json={"query": document(operation), "variables": {"input": fields}},
        headers=bearer_of(ADMIN_KEY),
    )
    data: dict[str, Any] = response.json()["data"]
    return data


@pytest.mark.parametrize(
    "place", ["header", "basic", "cookie", "query", "body", "document", "path"]
)
async def test_a_key_that_is_sent_is_not_in_the_log_wherever_it_stands(
    place: str, process: Process
) -> None:
    key = unknown_key()
    request_id = f"place-{place}"
    headers = {"x-request-id": request_id}
    query = "{ __typename }"
    sent: dict[str, Any] = {"json": {"query": query}}
    if place == "header":
        headers |= bearer_of(key)
    elif place == "basic":
        headers["authorization"] = f"Basic {key}"
    elif place == "cookie":
        headers["cookie"] = f"key={key}"
    elif place == "query":
        sent["params"] = {"key": key}
    elif place == "body":
        sent = {"json": {"query": query, "variables": {"key": key}, "operationName": 5}}
    elif place == "document":
        sent = {"json": {"query": f'{{ organization(id: "{key}") {{ id }} }}'}}
    path = f"/{key}" if place == "path" else "/graphql"
    await process.http.post(path, headers=headers, **sent)
    line = (await process.about(request_id))[-1]
    # A path is part of its line, save for what looks like a key.
    assert line["path"] == path.replace(key, "[redacted]")


async def test_a_socket_is_one_line_too(process: Process) -> None:
    import websockets

    key = unknown_key()
    url = str(process.http.base_url).replace("http", "ws") + "/graphql"
    async with websockets.connect(
        url,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        additional_headers={"x-request-id": "socket-1"},
    ) as socket:
        init = {"type": "connection_init", "payload": {"Authorization": f"Bearer {key}"}}
        await socket.send(json.dumps(init))
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
    lines = await process.about("socket-1")
    assert [line["method"] for line in lines if line["event"] == "http.request"] == ["WEBSOCKET"]


async def test_a_socket_that_sends_no_text_is_no_fault_of_ours(process: Process) -> None:
    import websockets

    url = str(process.http.base_url).replace("http", "ws") + "/graphql"
    async with websockets.connect(
        url,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        additional_headers={"x-request-id": "socket-2"},
    ) as socket:
        await socket.send(b"\xff\xfe", text=True)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1007
    await process.about("socket-2")
    assert not [line for line in process.lines if "UTF-8" in line or "Traceback" in line]


async def test_every_line_is_json_with_a_level_and_a_time(process: Process) -> None:
    await process.about(REQUEST_ID)
    for text in process.lines:
        line = json.loads(text)
        assert {"event", "level", "timestamp"} <= line.keys(), text
