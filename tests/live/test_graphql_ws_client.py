"""npm's graphql-ws at our socket: what its users rely on, and what it never does by itself.

Nothing is looked at but what goes over the wire: what the client tells, and the metrics.
"""

import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import uvicorn

from tests.conftest import Servers
from tests.live.conftest import Start
from tests.support import processes
from tests.support.accounts import Accounts
from tests.support.live import (
    ADMIN_KEY,
    BALANCE_FIGURES,
    RESERVATIONS,
    TRANSACTIONS,
    LiveServer,
)
from tests.support.node import Client, client, need, next_of, subscribers_are
from tests.support.processes import ApiProcess, reserve

QUERY = "query ($id: ID!) { creditBalance(organizationId: $id) { version available } }"


@pytest.fixture
async def person() -> AsyncIterator[Client]:
    """A client that does nothing yet."""
    need("graphql-ws", "ws")
    async with client("socket.mjs") as running:
        yield running


@pytest.fixture
async def server(live: Start) -> LiveServer:
    return await live()


def _endpoint(server: LiveServer) -> str:
    return f"ws://127.0.0.1:{server.port}/graphql"


# When it connects.


async def test_a_lazy_client_comes_with_its_first_operation_and_leaves_with_its_last(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    variables = {"id": str(await accounts.open(10))}
    await person("create", _endpoint(server), ADMIN_KEY, {"lazy": True})
    assert person.counts["opened"] == 0
    for times in (1, 2):
        await person("subscribe", "a", BALANCE_FIGURES, variables)
        assert (await next_of(person, "a"))["available"] == "10"
        await person("unsubscribe", "a")
        assert (await person.told("closed"))[0] == 1000
        assert person.counts["opened"] == person.counts["connected"] == times
    await subscribers_are(server, 0)


async def test_a_client_that_is_not_lazy_comes_at_once_and_stays(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    variables = {"id": str(await accounts.open(10))}
    await person("create", _endpoint(server), ADMIN_KEY, {"lazy": False})
    assert await person.told("connected") == [False]
    for name in ("a", "b"):
        await person("subscribe", name, QUERY, variables)
        await person.told(f"{name} complete")
    assert person.counts["opened"] == 1
    assert person.counts["closed"] == 0
    await person("dispose")
    assert (await person.told("closed"))[0] == 1000


async def test_a_client_comes_again_after_a_restart_and_after_a_crash(
    person: Client, servers: Servers, database_name: str, accounts: Accounts
) -> None:
    account = str(await accounts.open(10))
    async with (
        ApiProcess(servers.app_url(database_name), servers.redis) as api,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        url = f"{api.url.replace('http', 'ws')}/graphql"
        await person("create", url, processes.ADMIN_KEY, {"retry": True, "stubborn": True})
        await person("subscribe", "a", BALANCE_FIGURES, {"id": account})
        assert (await next_of(person, "a"))["version"] == 2
        assert await person.told("connected") == [False]
        version = 2
        for crash, code in ((False, 1012), (True, 1006)):
            if crash:
                api.kill()
            else:
                await api.end(signal.SIGTERM)
            assert (await person.told("closed"))[0] == code
            # Nobody is there yet: no close, but an error.
            await person.told("waiting")
            await person("retry")
            await person.told("error")
            await person.told("waiting")
            await api.start()
            # While it was away.
            await reserve(http, api.url, account, f"away-{code}")
            await person("retry")
            assert await person.told("connected") == [True]
            assert (await next_of(person, "a"))["version"] == version + 1
            await reserve(http, api.url, account, f"back-{code}")
            version += 2
            assert (await next_of(person, "a"))["version"] == version
        assert person.counts["a error"] == person.counts["a complete"] == 0


async def test_a_client_of_its_own_defaults_gives_up_where_nobody_listens(
    person: Client, servers: Servers, database_name: str, accounts: Accounts
) -> None:
    # Why the contract tells clients to set `shouldRetry`.
    variables = {"id": str(await accounts.open(10))}
    async with ApiProcess(servers.app_url(database_name), servers.redis) as api:
        url = f"{api.url.replace('http', 'ws')}/graphql"
        await person("create", url, processes.ADMIN_KEY, {"retry": True})
        await person("subscribe", "a", BALANCE_FIGURES, variables)
        await next_of(person, "a")
        await api.end(signal.SIGTERM)
        await person.told("waiting")
        await person("retry")
        await person.told("a error")
    assert person.counts["waiting"] == 1


# Signs of life.


async def test_each_ping_of_the_client_is_answered(person: Client, server: LiveServer) -> None:
    # It pings anew only once it was answered.
    await person("create", _endpoint(server), ADMIN_KEY, {"lazy": False, "keepAlive": 5})
    for _ in range(5):
        await person.told("ping went")
        await person.told("pong came")


@pytest.fixture
async def pinging(live: Start, monkeypatch: pytest.MonkeyPatch) -> LiveServer:
    """A server that pings every moment: what takes it twenty seconds, in a fraction of one."""
    as_ever = LiveServer.config

    def config(self: LiveServer, app: Any) -> uvicorn.Config:
        config = as_ever(self, app)
        config.ws_ping_interval = 0.02
        config.ws_ping_timeout = 0.5
        return config

    monkeypatch.setattr(LiveServer, "config", config)
    return await live()


async def test_a_client_that_answers_the_servers_pings_is_kept(
    person: Client, pinging: LiveServer, accounts: Accounts
) -> None:
    await person("create", _endpoint(pinging), ADMIN_KEY, {"lazy": False})
    for _ in range(40):
        await person.told("frame of ping")
    await person("subscribe", "a", QUERY, {"id": str(await accounts.open(10))})
    assert (await next_of(person, "a"))["available"] == "10"
    assert person.counts["opened"] == 1


async def test_a_client_that_does_not_answer_the_servers_pings_is_left_and_comes_again(
    person: Client, pinging: LiveServer
) -> None:
    # As a machine that slept: its line is dead to the server, and it reads so when it wakes.
    options = {"lazy": False, "deaf": True, "retry": True}
    await person("create", _endpoint(pinging), ADMIN_KEY, options)
    assert await person.told("connected") == [False]
    assert await person.told("closed") == [1001, "No answer to pings"]
    await person.told("waiting")
    await person("retry")
    assert await person.told("connected") == [True]
    assert person.counts["gave up"] == 0


# The life of an operation.


async def test_one_socket_carries_many_operations_at_once(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    first, second = await accounts.open(10), await accounts.open(20)
    await person("create", _endpoint(server), ADMIN_KEY)
    watched = {"a": first, "b": second, "c": first}
    for name, account in watched.items():
        await person("subscribe", name, BALANCE_FIGURES, {"id": str(account)})
    for name, document in (("rows", TRANSACTIONS), ("holds", RESERVATIONS)):
        await person("subscribe", name, document, {"id": str(first)})
    assert [(await next_of(person, name))["available"] for name in watched] == ["10", "20", "10"]
    await subscribers_are(server, 5)
    # Others run meanwhile, and end.
    for number in range(20):
        await person("subscribe", f"q{number}", QUERY, {"id": str(second)})
    for number in range(20):
        assert (await next_of(person, f"q{number}"))["available"] == "20"
        await person.told(f"q{number} complete")
    # The ledger has no snapshot to begin with, and a subscription may still be on its way.
    await server.watched(first, by=4)
    await server.do("reserveCredits", first, amount="1")
    assert (await next_of(person, "holds"))["status"] == "PENDING"
    assert [(await next_of(person, name))["reserved"] for name in ("a", "c")] == ["1", "1"]
    await server.deduct(first, "3")
    assert (await next_of(person, "rows"))["amount"] == "-3"
    assert [(await next_of(person, name))["available"] for name in ("a", "c")] == ["6", "6"]
    await server.deduct(second, "2")
    assert (await next_of(person, "b"))["available"] == "18"
    assert person.counts["opened"] == 1


async def test_unsubscribing_ends_one_subscription_on_the_server(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    await person("create", _endpoint(server), ADMIN_KEY)
    for name in ("a", "b"):
        await person("subscribe", name, BALANCE_FIGURES, {"id": str(account)})
        await next_of(person, name)
    await subscribers_are(server, 2)
    await person("unsubscribe", "a")
    await person.told("a complete")
    await subscribers_are(server, 1)
    await server.deduct(account)
    assert (await next_of(person, "b"))["version"] == 3
    assert person.counts["a next"] == 1
    assert person.counts["opened"] == 1


async def test_the_server_completes_a_query_and_a_mutation(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    charge = (
        "mutation ($input: DeductCreditsInput!) { deductCredits(input: $input)"
        " { ... on DeductCreditsSuccess { balance { version available } } } }"
    )
    wanted = {"organizationId": str(account), "amount": "1", "idempotencyKey": "once"}
    # The name tells whose completion it was.
    for name, document, variables, version in (
        ("query", QUERY, {"id": str(account)}, 2),
        ("mutation", charge, {"input": wanted}, 3),
    ):
        await person("create", _endpoint(server), ADMIN_KEY, {"sameName": name})
        await person("subscribe", name, document, variables)
        [result] = await person.told(f"{name} next")
        assert f'"version": {version}' in json.dumps(result)
        await person.told(f"{name} complete")
        assert await person.told("message complete") == [name]
        assert person.counts[f"{name} next"] == 1


async def test_what_cannot_run_ends_its_operation_and_nothing_else(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    account = str(await accounts.open(10))
    await person("create", _endpoint(server), ADMIN_KEY, {"lazy": False})
    for name, document, code in (
        ("syntax", "subscription {", "GRAPHQL_INVALID"),
        ("field", "subscription { nothing }", "GRAPHQL_INVALID"),
        ("variable", BALANCE_FIGURES, "GRAPHQL_INVALID"),
    ):
        await person("subscribe", name, document)
        [errors] = await person.told(f"{name} error")
        assert [error["extensions"]["code"] for error in errors] == [code]
        # It was an error: the client does not say complete after it.
        assert person.counts[f"{name} complete"] == 0
    await person("subscribe", "a", BALANCE_FIGURES, {"id": account})
    assert (await next_of(person, "a"))["version"] == 2
    assert person.counts["opened"] == 1


# What ends a socket. The client gives up on all of them but the two that may pass.

CALL: dict[str, Any] = {"id": "x", "type": "subscribe", "payload": {"query": "{ __typename }"}}
NO_MESSAGES = ["no JSON", "[]", "{}", '{"type":"start"}', '{"id":"1","type":"subscribe"}']


async def _gives_up(person: Client, code: int) -> None:
    assert (await person.told("closed"))[0] == code
    [reason] = await person.told("gave up")
    assert reason["code"] == code
    assert person.counts["waiting"] == 0


@pytest.mark.parametrize("text", NO_MESSAGES)
async def test_what_is_no_message_ends_every_operation_4400(
    text: str, person: Client, server: LiveServer, accounts: Accounts
) -> None:
    options = {"lazy": False, "retry": True}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    await person("subscribe", "a", BALANCE_FIGURES, {"id": str(await accounts.open(10))})
    await next_of(person, "a")
    await person("send", text)
    await _gives_up(person, 4400)
    [reason] = await person.told("a error")
    assert reason["code"] == 4400
    await subscribers_are(server, 0)


async def test_a_subscription_before_the_first_message_is_closed_4401(
    person: Client, server: LiveServer
) -> None:
    options = {"lazy": False, "retry": True, "first": json.dumps(CALL)}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    await _gives_up(person, 4401)
    assert person.counts["connected"] == 0


async def test_a_bad_key_is_closed_4403_and_may_be_better_next_time(
    person: Client, server: LiveServer
) -> None:
    await person("create", _endpoint(server), "nonsense", {"lazy": False, "retry": True})
    assert (await person.told("closed"))[0] == 4403
    await person.told("waiting")


async def test_a_client_that_asks_for_no_protocol_is_closed_4406(
    person: Client, server: LiveServer
) -> None:
    options = {"lazy": False, "retry": True, "protocols": []}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    await _gives_up(person, 4406)
    assert person.counts["connected"] == 0


async def test_a_client_that_asks_for_another_protocol_is_not_served(
    person: Client, server: LiveServer
) -> None:
    # No protocol is chosen, so a client must fail the connection itself, before it can
    # read that it is closed 4406 (RFC 6455, 4.1).
    options = {"lazy": False, "protocols": ["graphql-ws"]}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    assert await person.told("error") == ["Server sent no subprotocol"]
    await person.told("gave up")
    assert person.counts["opened"] == 0


async def test_silence_instead_of_a_first_message_is_closed_4408_and_may_be_better_next_time(
    person: Client, live: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten seconds is what production waits.
    monkeypatch.setattr("schema.sockets.INIT_SECONDS", 0.01)
    server = await live()
    options = {"lazy": False, "retry": True, "silent": True}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    assert (await person.told("closed"))[0] == 4408
    await person.told("waiting")


async def test_a_second_operation_of_the_same_name_is_closed_4409(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    variables = {"id": str(await accounts.open(10))}
    options = {"lazy": False, "retry": True, "sameName": "same"}
    await person("create", _endpoint(server), ADMIN_KEY, options)
    await person("subscribe", "a", BALANCE_FIGURES, variables)
    await next_of(person, "a")
    await person("subscribe", "b", BALANCE_FIGURES, variables)
    await _gives_up(person, 4409)
    for name in ("a", "b"):
        [reason] = await person.told(f"{name} error")
        assert reason["code"] == 4409
    await subscribers_are(server, 0)


async def test_a_second_first_message_is_closed_4429(person: Client, server: LiveServer) -> None:
    await person("create", _endpoint(server), ADMIN_KEY, {"lazy": False, "retry": True})
    await person.told("connected")
    await person("send", json.dumps({"type": "connection_init"}))
    await _gives_up(person, 4429)
