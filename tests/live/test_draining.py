"""A stop with requests under way: they are answered, within the limit, and nobody new is let in.

What is under way waits for a row that the test holds, so that it lasts as long as it should.
"""

import asyncio
import contextlib
import gc
import json
import signal
import socket
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from db.driver import Connection
from tests.live.conftest import Faults, Start
from tests.support.accounts import Accounts
from tests.support.live import (
    ADMIN_KEY,
    BALANCE_FIGURES,
    LIMIT_SECONDS,
    LiveServer,
    Payload,
    init_message,
    until,
)

DEDUCT = """
mutation ($input: DeductCreditsInput!) {
  deductCredits(input: $input) { ... on DeductCreditsSuccess { replayed balance { version } } }
}
"""
DONE = {"data": {"deductCredits": {"replayed": False, "balance": {"version": 3}}}}


class Held:
    """An account whose row is held: a call for it waits until it is let go."""

    def __init__(self, account: UUID, admin: Connection) -> None:
        self.account = account
        self._admin = admin
        self._transaction = admin.transaction()

    async def take(self) -> None:
        await self._transaction.start()
        await self._admin.execute(
            "select from credits.accounts where account_id = $1 for update", self.account
        )

    async def let_go(self) -> None:
        await self._transaction.rollback()

    async def has_waiting(self, count: int = 1) -> None:
        """Wait until so many calls wait for it."""

        async def waiting() -> bool:
            # Within its transaction, Postgres would show what it showed first.
            await self._admin.execute("select pg_stat_clear_snapshot()")
            found = await self._admin.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
            )
            return bool(found == count)

        await until(waiting, f"{count} calls that wait")

    def request(self) -> Payload:
        """Return a request that waits for it."""
        wanted = {"organizationId": str(self.account), "amount": "1", "idempotencyKey": "once"}
        return {"query": DEDUCT, "variables": {"input": wanted}}


@pytest.fixture
async def held(accounts: Accounts, admin: Connection) -> Held:
    return Held(await accounts.open(10), admin)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps its connections."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        yield client


def _url(server: LiveServer, path: str = "/graphql") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


async def _begin_stop(server: LiveServer) -> "asyncio.Task[None]":
    stopping = asyncio.create_task(server.stop_listening())
    await until(lambda: server.drain.is_begun, "the beginning of the stop")
    return stopping


async def _rest(connection: ClientConnection) -> list[Payload]:
    """Return what comes until the connection is closed."""
    told = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                told.append(json.loads(await connection.recv()))
    return told


async def test_requests_under_way_are_answered_and_nobody_new_is_let_in(
    live: Start, held: Held, http: httpx.AsyncClient
) -> None:
    server = await live()
    # A connection that is kept.
    assert (await http.get(_url(server, "/health/ready"))).status_code == 200
    await held.take()
    async with httpx.AsyncClient(trust_env=False, headers=http.headers) as other:
        call = asyncio.create_task(other.post(_url(server), json=held.request()))
        await held.has_waiting()
        stopping = await _begin_stop(server)
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(trust_env=False) as newcomer:
                await newcomer.get(_url(server, "/health/ready"))
        # It was let in before, is told so, and told to go.
        answer = await http.get(_url(server, "/health/ready"))
        assert (answer.status_code, answer.json()) == (503, {"status": "stopping"})
        assert answer.headers["connection"] == "close"
        assert not stopping.done()
        await held.let_go()
        answer = await call
        assert (answer.status_code, answer.json()["data"]) == (200, DONE["data"])
        assert answer.headers["connection"] == "close"
        await stopping


async def test_a_mutation_over_a_socket_is_answered_before_the_socket_is_closed(
    live: Start, held: Held
) -> None:
    server = await live()
    connection = await server.handshake()
    await connection.send(init_message())
    assert json.loads(await connection.recv())["type"] == "connection_ack"
    watching = {"query": BALANCE_FIGURES, "variables": {"id": str(held.account)}}
    await connection.send(json.dumps({"id": "w", "type": "subscribe", "payload": watching}))
    await server.watched(held.account)
    assert json.loads(await connection.recv())["id"] == "w"
    await held.take()
    await connection.send(json.dumps({"id": "m", "type": "subscribe", "payload": held.request()}))
    await held.has_waiting()
    stopping = await _begin_stop(server)
    # The subscription has ended, and the client was not told: it shall come again for it.
    await until(lambda: not server.feed._watches, "the end of the subscription")
    assert not stopping.done()
    await held.let_go()
    told = await _rest(connection)
    await stopping
    assert [(message["id"], message["type"]) for message in told] == [
        ("m", "next"),
        ("m", "complete"),
    ]
    assert told[0]["payload"]["data"] == DONE["data"]
    assert connection.close_code == 1012


async def test_a_mutation_over_events_is_complete_before_the_stop(
    live: Start, held: Held, http: httpx.AsyncClient
) -> None:
    server = await live()
    await held.take()
    accept = {"accept": "text/event-stream"}
    call = asyncio.create_task(http.post(_url(server), json=held.request(), headers=accept))
    await held.has_waiting()
    stopping = await _begin_stop(server)
    await held.let_go()
    text = (await call).text
    assert '"version":3' in text
    assert text.endswith("event: complete\r\ndata: \r\n\r\n")
    await stopping


async def test_who_comes_over_a_kept_connection_is_sent_away(
    live: Start, held: Held, http: httpx.AsyncClient
) -> None:
    server = await live()
    assert (await http.get(_url(server, "/health/live"))).status_code == 200
    line = socket.create_connection(("127.0.0.1", server.port))
    line.setblocking(False)  # noqa: FBT003  # as sockets have it
    await until(lambda: len(server._server.server_state.connections) == 2, "the connection")
    await held.take()
    async with httpx.AsyncClient(trust_env=False, headers=http.headers) as other:
        call = asyncio.create_task(other.post(_url(server), json=held.request()))
        await held.has_waiting()
        stopping = await _begin_stop(server)
        # A subscription ends as it begins, and a socket is closed as it opens.
        watching = {"query": BALANCE_FIGURES, "variables": {"id": str(held.account)}}
        accept = {"accept": "text/event-stream"}
        stream = await http.post(_url(server), json=watching, headers=accept)
        assert (stream.status_code, stream.text) == (200, "")
        assert stream.headers["connection"] == "close"
        late = await server.handshake(sock=line)
        await late.wait_closed()
        assert late.close_code == 1012
        await held.let_go()
        assert (await call).json()["data"] == DONE["data"]
        await stopping


async def test_an_idle_connection_does_not_hold_the_stop(
    live: Start, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server._STALLED_SECONDS", 0.1)
    server = await live()
    assert (await http.get(_url(server, "/health/live"))).status_code == 200
    # Who connected and says nothing.
    line = socket.create_connection(("127.0.0.1", server.port))
    await until(lambda: len(server._server.server_state.connections) == 2, "the connections")
    await server.stop_listening()
    line.settimeout(5)
    assert line.recv(1) == b""
    line.close()


async def test_what_takes_longer_than_the_limit_is_cut_and_its_retry_tells(
    live: Start, held: Held, http: httpx.AsyncClient, faults: Faults
) -> None:
    faults.expect("serve.cut_short")
    # Shorter than a call waits for its row.
    server = await live(drain_seconds=1)
    await held.take()
    async with server.socket() as client:
        call = asyncio.create_task(http.post(_url(server), json=held.request()))
        await client.send({"id": "m", "type": "subscribe", "payload": held.request()})
        await held.has_waiting(2)
        await server.stop_listening()
        answer = await call
        assert answer.status_code == 503
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"] == "UNAVAILABLE"
        assert await client.closed() == 1012
    await held.let_go()
    again = await live()
    answer = await http.post(_url(again), json=held.request())
    assert answer.json()["data"] == DONE["data"]


async def test_at_a_second_signal_nothing_is_waited_for(
    live: Start, held: Held, http: httpx.AsyncClient, faults: Faults
) -> None:
    faults.expect("serve.cut_short")
    server = await live()
    await held.take()
    call = asyncio.create_task(http.post(_url(server), json=held.request()))
    await held.has_waiting()
    server._server.handle_exit(signal.SIGTERM, None)
    await until(lambda: server.drain.is_begun, "the beginning of the stop")
    assert server.running
    server._server.handle_exit(signal.SIGTERM, None)
    assert (await call).status_code == 503
    await until(lambda: not server.running, "the end")
    await held.let_go()


async def test_what_is_loaded_by_the_start_is_out_of_the_collectors_way(live: Start) -> None:
    gc.unfreeze()
    await live()
    assert gc.get_freeze_count() > 100_000
