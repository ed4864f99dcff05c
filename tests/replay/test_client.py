"""The client: what it repeats, what it believes, when it gives up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from app.replay import client as module
from app.replay.client import Client, Document, RefusedError, UnansweredError, together

ASK = Document.of("ask", "query($id: ID!) { ask(id: $id) { id } }")

Answer = Callable[[web.Request], web.StreamResponse]


def _data(**fields: object) -> Answer:
    return lambda _: web.json_response({"data": {"ask": fields}})


def _error(code: str, status: int = 200) -> Answer:
    return lambda _: web.json_response(
        {"errors": [{"message": "No.", "extensions": {"code": code}}]}, status=status
    )


def _page(status: int) -> Answer:
    return lambda _: web.Response(status=status, text="<html>", content_type="text/html")


def _lost(request: web.Request) -> web.StreamResponse:
    """Close the connection instead of answering: the work was done all the same."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@asynccontextmanager
async def _server(*answers: Answer) -> AsyncIterator[tuple[Client, list[bytes]]]:
    """Answer one request after the other; the last answer stands for all that follow."""
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return answers[min(len(bodies), len(answers)) - 1](request)

    app = web.Application()
    app.router.add_post("/graphql", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(f"http://127.0.0.1:{runner.addresses[0][1]}/graphql", "secret", 4)
    try:
        yield client, bodies
    finally:
        await client.close()
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.002)


async def test_an_answer_is_believed_at_once() -> None:
    async with _server(_data(id="1")) as (client, bodies):
        assert await client.ask(ASK, {"id": "é"}) == {"id": "1"}
    assert orjson.loads(bodies[0]) == {
        "query": "query($id: ID!) { ask(id: $id) { id } }",
        "variables": {"id": "é"},
    }
    assert (len(bodies), client.retries) == (1, 0)


async def test_what_leaves_the_outcome_open_is_asked_again_word_for_word() -> None:
    answers = (
        _lost,
        _page(502),
        _error("UNAVAILABLE"),
        _error("UNAVAILABLE", 503),
        _error("INTERNAL"),
        _data(code="BUSY", message="The account was busy."),
        _data(id="1"),
    )
    async with _server(*answers) as (client, bodies):
        assert await client.ask(ASK, {"id": "1"}) == {"id": "1"}
    assert (len(bodies), len(set(bodies)), client.retries) == (7, 1, 6)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_data(code="INSUFFICIENT_CREDITS", message="Not enough."), "INSUFFICIENT_CREDITS: Not"),
        (_error("UNAUTHENTICATED", 401), "UNAUTHENTICATED: No."),
        (_page(404), "NOT_GRAPHQL: http://127.0.0.1:"),
        (lambda _: web.json_response({"data": {}}), "NOT_GRAPHQL: "),
        (lambda _: web.json_response([]), "NOT_GRAPHQL: "),
        (lambda _: web.Response(status=301, headers={"Location": "/"}), "NOT_GRAPHQL: "),
    ],
)
async def test_a_no_is_not_asked_again(answer: Answer, told: str) -> None:
    async with _server(answer) as (client, bodies):
        with pytest.raises(RefusedError) as refused:
            await client.ask(ASK, {})
    assert str(refused.value).startswith(told)
    assert refused.value.code == told.partition(":")[0]
    assert (len(bodies), client.retries) == (1, 0)


async def test_attempts_are_bounded() -> None:
    async with _server(_error("BUSY")) as (client, bodies):
        with pytest.raises(UnansweredError, match=r"^ask: BUSY$"):
            await client.ask(ASK, {})
        assert (len(bodies), client.retries) == (12, 11)
        with pytest.raises(UnansweredError, match=r"^ask: BUSY$"):
            await client.ask(ASK, {}, attempts=3)
    assert (len(bodies), client.retries) == (15, 13)


async def test_a_silent_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REQUEST_SECONDS", 0.05)
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}/graphql", "secret", 4)
        with pytest.raises(UnansweredError):
            await client.ask(ASK, {}, attempts=2)
        await client.close()
    assert (connections, client.retries) == (2, 1)


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    under_way, most = 0, 0
    together_now = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 4:
            together_now.set()
        await together_now.wait()
        under_way -= 1
        return web.json_response({"data": {"ask": {}}})

    app = web.Application()
    app.router.add_post("/graphql", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(f"http://127.0.0.1:{runner.addresses[0][1]}/graphql", "secret", 4)
    await together(lambda number: client.ask(ASK, {"id": number}), 20)
    await client.close()
    await runner.cleanup()
    assert most == 4


async def test_together_raises_the_first_fault_when_all_have_ended() -> None:
    ended: list[int] = []

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        ended.append(number)
        if number in (1, 2):
            raise ValueError(number)
        return number * 2

    with pytest.raises(ValueError, match=r"^1$"):
        await together(work, 4)
    assert ended == [0, 1, 2, 3]
    assert await together(work, 1) == [0]
