"""A stop with open streams: each is told to come again, and who does not listen is left."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.live import (
    ADMIN_KEY,
    BALANCE,
    BALANCE_FIGURES,
    RESERVATIONS,
    TRANSACTIONS,
    LiveServer,
    init_message,
    until,
)


async def test_open_sockets_are_closed_1012_and_nothing_is_left(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as one, server.socket() as two:
        for client in (one, two):
            for document in (BALANCE_FIGURES, TRANSACTIONS, RESERVATIONS):
                await client.watch(document, account)
        await server.watched(account, by=6)
        await server.stop()
        # Service restart: a client comes again, and begins with a snapshot.
        assert await one.closed() == 1012
        assert await two.closed() == 1012
    assert (server.feed._watches, server.groups.open, server.bus._channels) == ({}, 0, {})
    assert all(task.done() for task in server.bus._tasks)


async def test_an_open_event_stream_ends_and_is_not_complete(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.events(BALANCE_FIGURES, account) as stream:
        assert (await stream.next())["version"] == 2
        await server.stop_listening()
        # In order, by its last chunk: nothing is cut, and nothing says that it was all.
        with pytest.raises(StopAsyncIteration):
            await stream.message()
    assert (server.feed._watches, server.groups.open, server.bus._channels) == ({}, 0, {})


async def test_a_socket_that_says_nothing_yet_is_closed_too(live: Start) -> None:
    server = await live()
    silent = await server.handshake()
    await server.stop()
    await silent.wait_closed()
    assert (silent.close_code, silent.close_reason) == (1012, "The server stops: connect again")


async def test_a_client_that_never_says_goodbye_does_not_hold_the_stop(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server._STALLED_SECONDS", 0.1)
    server = await live()
    account = await accounts.open(10)
    loop = asyncio.get_running_loop()
    async with server.socket() as client:
        await client.watch(BALANCE_FIGURES, account)
        await server.watched(account)
        # It is told, and sends nothing back: not that it has read of its end, either.
        transport = client.connection.transport
        loop.call_soon(transport.pause_reading)
        await server.stop()
        transport.resume_reading()
        assert await client.closed() == 1012


@asynccontextmanager
async def _reads_nothing(server: LiveServer, account: UUID, *, events: bool) -> AsyncIterator[None]:
    """Subscribe, and let the answers fill the line until the server can send no more."""
    loop = asyncio.get_running_loop()
    [listener] = server._server.servers[0].sockets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(0)
    await loop.sock_connect(line, ("127.0.0.1", server.port))
    names = " ".join(f"{'a' * 500}{number}: overage" for number in range(29))
    payload = {"query": BALANCE % f"version {names}", "variables": {"id": str(account)}}
    connection = None
    if events:
        body = json.dumps(payload)
        head = (
            "POST /graphql HTTP/1.1\r\nHost: here\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {ADMIN_KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(line, (head + body).encode())
    else:
        connection = await server.handshake(sock=line, max_queue=1, compression=None)
        await connection.send(init_message())
        await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
    await until(lambda: server.feed._watches.get(account), "the subscription")
    [member] = server.members(account)
    for number in range(40):
        await server.services.credits.deduct(account, CREDIT // 100, f"d-{number}")

    def left() -> bool:
        # Before all was sent: a moment may be short.
        return not server.feed._watches.get(account)

    await until(lambda: member.version == 42 or left(), "the last message")
    assert left() or [told.version for told in member._queue] == [42]
    try:
        yield
    finally:
        if connection is not None:
            connection.transport.abort()
            await connection.wait_closed()
        line.close()


@pytest.mark.parametrize("events", [False, True])
async def test_a_reader_that_does_not_read_does_not_hold_the_stop(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, *, events: bool
) -> None:
    monkeypatch.setattr("app.server._STALLED_SECONDS", 0.1)
    server = await live()
    account = await accounts.open(10)
    async with _reads_nothing(server, account, events=events):
        await server.stop()
        assert (server.feed._watches, server.groups.open, server.bus._channels) == ({}, 0, {})


@pytest.mark.parametrize("events", [False, True])
async def test_a_reader_that_does_not_read_for_long_is_left(
    live: Start,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    *,
    events: bool,
) -> None:
    # A minute, as a moment.
    monkeypatch.setattr(f"schema.{'events' if events else 'sockets'}.SEND_SECONDS", 0.2)
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as reads:
        stream = await reads.watch(BALANCE_FIGURES, account)
        await stream.next()
        await reads.send({"type": "complete", "id": "1"})
        await until(lambda: not server.feed._watches, "the end of who reads")
        async with _reads_nothing(server, account, events=events):
            await until(lambda: not server.feed._watches, "the end of who does not")
            assert (server.groups.open, server.bus._channels) == (0, {})
            if events:
                # Its line goes with it; that of a socket, when it answers no ping.
                lines = server._server.server_state.connections
                await until(lambda: len(lines) == 1, "the end of its line")
            # Who reads is served.
            stream = await reads.watch(BALANCE_FIGURES, account)
            assert (await stream.next())["version"] == 42
