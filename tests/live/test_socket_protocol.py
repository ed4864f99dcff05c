"""graphql-transport-ws at its edges: who may open a socket, and what ends one.

A socket that is closed for what it sent leaves no error in the log: `faults` sees to that.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.identity.keys import make_key
from tests.live.conftest import Start
from tests.support.accounts import Accounts
from tests.support.live import (
    ADMIN_KEY,
    BALANCE_FIGURES,
    LIMIT_SECONDS,
    LiveServer,
    until,
)

INIT = {"type": "connection_init", "payload": {"Authorization": f"Bearer {ADMIN_KEY}"}}
NOBODY = {"type": "connection_init"}


def _subscribe(name: str = "1", **payload: Any) -> dict[str, Any]:
    return {"id": name, "type": "subscribe", "payload": {"query": BALANCE_FIGURES, **payload}}


@asynccontextmanager
async def _opened(server: LiveServer, **options: Any) -> AsyncIterator[ClientConnection]:
    connection = await server.handshake(**options)
    try:
        yield connection
    finally:
        await connection.close()


async def _closing_code(server: LiveServer, *messages: Any, **options: Any) -> int | None:
    """Send messages as they are, or as JSON; return the code that ends the socket."""
    async with _opened(server, **options) as connection, asyncio.timeout(LIMIT_SECONDS):
        for message in messages:
            raw = isinstance(message, str | bytes)
            await connection.send(message if raw else json.dumps(message))
        with suppress(ConnectionClosed):
            async for _ in connection:
                pass
        return connection.close_code


async def _answer(connection: ClientConnection) -> Any:
    async with asyncio.timeout(LIMIT_SECONDS):
        return json.loads(await connection.recv())


# Who may open a socket.


async def test_a_key_may_come_in_the_first_message_or_in_the_handshake(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    header = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with server.socket() as socket:
        stream = await socket.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["available"] == "10"
    async with server.socket(key=None, additional_headers=header) as socket:
        stream = await socket.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["available"] == "10"


async def test_the_key_of_the_first_message_goes_before_that_of_the_handshake(
    live: Start,
) -> None:
    server = await live()
    header = {"Authorization": f"Bearer {ADMIN_KEY}"}
    bad = {"type": "connection_init", "payload": {"authorization": "Bearer nonsense"}}
    assert await _closing_code(server, bad, additional_headers=header) == 4403


@pytest.mark.parametrize(
    "sent",
    ["Bearer nonsense", "Basic YTpi", f"Bearer {make_key('project').secret}", "Bearer "],
    # A key is of chance; the names of tests must not be.
    ids=["mistyped", "basic", "unknown", "empty"],
)
async def test_a_bad_key_is_closed_4403(live: Start, sent: str) -> None:
    server = await live()
    first = {"type": "connection_init", "payload": {"Authorization": sent}}
    assert await _closing_code(server, first) == 4403
    assert await _closing_code(server, NOBODY, additional_headers={"Authorization": sent}) == 4403


async def test_nobody_may_open_a_socket_and_sees_nothing(live: Start, accounts: Accounts) -> None:
    server = await live()
    async with server.socket(key=None) as socket:
        stream = await socket.watch(BALANCE_FIGURES, await accounts.open(10))
        assert await stream.refused() == "UNAUTHENTICATED"
        await stream.completed()


async def test_an_account_of_nobody_is_not_found(live: Start) -> None:
    server = await live()
    async with server.socket() as socket:
        stream = await socket.watch(BALANCE_FIGURES, uuid4())
        assert await stream.refused() == "BALANCE_NOT_FOUND"
        await stream.completed()
    assert server.feed._watches == {}
    assert server.bus._channels == {}


async def test_a_page_of_a_foreign_origin_is_refused_403(live: Start) -> None:
    server = await live(allowed_origins=["https://app.example"])
    for foreign in ("https://evil.example", "https://app.example.evil.example", "null"):
        with pytest.raises(InvalidStatus) as refused:
            await server.handshake(origin=foreign)
        assert refused.value.response.status_code == 403
    for origin in ("https://app.example", f"http://127.0.0.1:{server.port}", None):
        async with server.socket(origin=origin):
            pass


async def test_a_client_that_speaks_another_protocol_is_closed_4406(live: Start) -> None:
    server = await live()
    assert await _closing_code(server, subprotocols=["graphql-ws"]) == 4406
    assert await _closing_code(server, subprotocols=None) == 4406


# The order of things.


async def test_a_subscription_before_the_first_message_is_closed_4401(live: Start) -> None:
    assert await _closing_code(await live(), _subscribe()) == 4401


async def test_a_second_first_message_is_closed_4429(live: Start) -> None:
    assert await _closing_code(await live(), INIT, INIT) == 4429


async def test_silence_instead_of_a_first_message_is_closed_4408(
    live: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten seconds is what production waits; here as many milliseconds.
    monkeypatch.setattr("schema.sockets.INIT_SECONDS", 0.01)
    assert await _closing_code(await live()) == 4408


async def test_the_name_of_a_running_operation_cannot_be_used_again(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    again = _subscribe("same", variables={"id": str(await accounts.open(10))})
    assert await _closing_code(server, INIT, again, again) == 4409


# What is no message.

NOT_MESSAGES: list[Any] = [
    "",
    "no JSON",
    "{",
    "[" * 100_000,
    "null",
    "[]",
    '"text"',
    "17",
    "{}",
    b'{"type":"connection_init"}',
    {"type": None},
    {"type": 1},
    {"type": ["ping"]},
    {"type": {"ping": 1}},
    {"type": "subscription"},
    {"type": "connection_init", "payload": "text"},
    {"type": "connection_init", "payload": [1]},
]
NOT_OPERATIONS: list[Any] = [
    {"type": "subscribe"},
    {"type": "subscribe", "payload": {"query": BALANCE_FIGURES}},
    {"type": "subscribe", "id": 7, "payload": {"query": BALANCE_FIGURES}},
    {"type": "subscribe", "id": "1"},
    {"type": "subscribe", "id": "1", "payload": None},
    {"type": "subscribe", "id": "1", "payload": "{ creditBalance }"},
    {"type": "subscribe", "id": "1", "payload": {}},
    {"type": "subscribe", "id": "1", "payload": [{"query": "{ __typename }"}]},
    {"type": "subscribe", "id": "1", "payload": {"documentId": 5}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "documentId": []}},
    {"type": "subscribe", "id": "1", "payload": {"query": None}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": "text"}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}},
    {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": 1}},
    {"type": "complete"},
    {"type": "complete", "id": None},
    '{"type":"subscribe","id":"\\ud800","payload":{"query":"{ projects { id } }"}}',
    '{"type":"subscribe","id":"1","payload":{"query":"{ \\ud800 }"}}',
]


async def test_what_is_no_message_is_closed_4400(live: Start) -> None:
    server = await live()
    for message in NOT_MESSAGES:
        assert await _closing_code(server, message) == 4400, str(message)[:99]
    for message in NOT_OPERATIONS:
        assert await _closing_code(server, INIT, message) == 4400, str(message)[:99]


async def test_a_message_above_the_limit_of_bodies_is_closed_1009(live: Start) -> None:
    server = await live(request_body_bytes=4096)
    assert await _closing_code(server, INIT, json.dumps({"type": "ping"}).ljust(4097)) == 1009


async def test_a_message_of_the_limit_passes(live: Start) -> None:
    server = await live(request_body_bytes=4096)
    async with _opened(server) as connection:
        await connection.send(json.dumps({"type": "ping"}).ljust(4096))
        assert await _answer(connection) == {"type": "pong"}


async def test_a_document_that_is_not_valid_ends_its_operation_alone(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as socket:
        for document, code in (
            ("subscription { nothing }", "GRAPHQL_INVALID"),
            ("subscription {", "GRAPHQL_INVALID"),
            ("fragment F on Query { projects { id } }", "BAD_REQUEST"),
            ("", "BAD_REQUEST"),
        ):
            wrong = await socket.watch(document, account)
            assert await wrong.refused() == code
        stream = await socket.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2


# The life of an operation.


async def test_a_ping_is_answered(live: Start) -> None:
    async with _opened(await live()) as connection:
        await connection.send('{"type":"ping"}')
        assert await _answer(connection) == {"type": "pong"}
        await connection.send('{"type":"pong","payload":{"any":1}}')
        await connection.send('{"type":"ping","payload":{"any":1}}')
        assert await _answer(connection) == {"type": "pong"}


async def test_complete_stops_one_operation_and_frees_it(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as socket:
        name, stopped = await socket.subscribe(BALANCE_FIGURES, account)
        going_on = await socket.watch(BALANCE_FIGURES, account)
        assert (await stopped.next())["version"] == 2
        assert (await going_on.next())["version"] == 2
        await socket.send({"type": "complete", "id": name})
        await socket.send({"type": "complete", "id": "never begun"})
        await until(lambda: len(server.members(account)) == 1, "the end of one")
        await server.deduct(account)
        assert (await going_on.next())["version"] == 3
        assert socket._queues[name].empty()
        # Its name is free again.
        await socket.send(_subscribe(name, variables={"id": str(account)}))
        assert (await stopped.next())["version"] == 3


async def test_a_socket_carries_a_limited_number_of_operations(
    live: Start, accounts: Accounts
) -> None:
    server = await live(socket_operations=2)
    account = await accounts.open(10)
    async with server.socket() as socket:
        first, stream = await socket.subscribe(BALANCE_FIGURES, account)
        await stream.next()
        await (await socket.watch(BALANCE_FIGURES, account)).next()
        beyond = await socket.watch(BALANCE_FIGURES, account)
        message = await beyond.message()
        [error] = message["payload"]
        assert error["extensions"].pop("requestId")
        assert message | {"payload": error} == {
            "id": "3",
            "type": "error",
            "payload": {
                "message": "A socket carries at most 2 operations.",
                "extensions": {"code": "BUSY", "limit": 2},
            },
        }
        assert len(server.members(account)) == 2
        await socket.send({"type": "complete", "id": first})
        await until(lambda: len(server.members(account)) == 1, "the end of one")
        assert (await (await socket.watch(BALANCE_FIGURES, account)).next())["version"] == 2
