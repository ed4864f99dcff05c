"""npm's graphql-sse at our event streams, with a connection for each operation.

Nothing is looked at but what goes over the wire: what the client tells, and the metrics.
"""

import signal
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Servers
from tests.live.conftest import Start
from tests.support import processes
from tests.support.accounts import Accounts
from tests.support.live import ADMIN_KEY, BALANCE_FIGURES, LiveServer
from tests.support.node import Client, client, need, next_of, subscribers_are
from tests.support.processes import ApiProcess, reserve

QUERY = "query ($id: ID!) { creditBalance(organizationId: $id) { available } }"


@pytest.fixture
async def server(live: Start) -> LiveServer:
    return await live()


@pytest.fixture
async def person(server: LiveServer) -> AsyncIterator[Client]:
    """A client that does nothing yet. Its streams end before the server, which would wait."""
    assert server.running
    need("graphql-sse")
    async with client("stream.mjs") as running:
        yield running


def _endpoint(server: LiveServer) -> str:
    return f"http://127.0.0.1:{server.port}/graphql"


async def test_a_subscription_brings_a_snapshot_and_what_comes_later(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    await person("create", _endpoint(server), ADMIN_KEY)
    await person("subscribe", "a", BALANCE_FIGURES, {"id": str(account)})
    assert (await next_of(person, "a"))["available"] == "10"
    for available in ("9", "8"):
        balance = await server.deduct(account)
        assert balance["available"] == available
        assert await next_of(person, "a") == balance
    assert person.counts["connected"] == 1
    assert person.counts["a complete"] == person.counts["a error"] == 0


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
    await person("dispose")
    await person.told("b complete")
    await subscribers_are(server, 0)
    # It was the client that ended them.
    assert person.counts["message complete"] == 0


async def test_the_server_completes_a_query(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    variables = {"id": str(await accounts.open(10))}
    await person("create", _endpoint(server), ADMIN_KEY)
    await person("subscribe", "a", QUERY, variables)
    assert await next_of(person, "a") == {"available": "10"}
    await person.told("message complete")
    await person.told("a complete")
    assert person.counts["a next"] == 1


# By the protocol, what is found wrong before anything runs comes as a result too: a client
# that is answered 400 is told nothing.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "syntax": ("subscription {", {}, "GRAPHQL_INVALID"),
    "unknown field": ("subscription { nothing }", {}, "GRAPHQL_INVALID"),
    "variable missing": (BALANCE_FIGURES, {}, "GRAPHQL_INVALID"),
    "no operation": ("fragment F on Query { __typename }", {}, "BAD_REQUEST"),
    "nobody's account": (BALANCE_FIGURES, {"id": str(uuid4())}, "BALANCE_NOT_FOUND"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_an_error_comes_as_the_only_result(
    what: str, person: Client, server: LiveServer
) -> None:
    document, variables, code = WRONG[what]
    await person("create", _endpoint(server), ADMIN_KEY)
    await person("subscribe", "a", document, variables)
    [result] = await person.told("a next")
    assert result.get("data") is None
    [error] = result["errors"]
    assert error["message"]
    assert error["extensions"]["code"] == code
    await person.told("a complete")
    assert person.counts["a next"] == 1
    assert person.counts["a error"] == 0
    await subscribers_are(server, 0)


async def test_nobody_is_told_so_by_the_only_result(
    person: Client, server: LiveServer, accounts: Accounts
) -> None:
    await person("create", _endpoint(server), None)
    await person("subscribe", "a", BALANCE_FIGURES, {"id": str(await accounts.open(10))})
    [result] = await person.told("a next")
    assert [error["extensions"]["code"] for error in result["errors"]] == ["UNAUTHENTICATED"]
    await person.told("a complete")


async def test_a_bad_key_is_refused_with_an_answer_the_client_can_read(
    person: Client, server: LiveServer
) -> None:
    await person("create", _endpoint(server), "nonsense")
    await person("subscribe", "a", BALANCE_FIGURES, {"id": str(uuid4())})
    [reason] = await person.told("a error")
    assert reason["status"] == 401
    [error] = reason["body"]["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    assert person.counts["connected"] == 0


async def test_a_client_comes_again_after_a_restart_and_after_a_crash(
    servers: Servers, database_name: str, accounts: Accounts
) -> None:
    need("graphql-sse")
    account = str(await accounts.open(10))
    async with (
        ApiProcess(servers.app_url(database_name), servers.redis) as api,
        httpx.AsyncClient(trust_env=False) as http,
        client("stream.mjs") as person,
    ):
        await person("create", f"{api.url}/graphql", processes.ADMIN_KEY, {"retry": True})
        await person("subscribe", "a", BALANCE_FIGURES, {"id": account})
        assert (await next_of(person, "a"))["version"] == 2
        version = 2
        for crash in (False, True):
            if crash:
                api.kill()
            else:
                await api.end(signal.SIGTERM)
            # Nobody is there yet.
            await person.told("waiting")
            await person("retry")
            await person.told("waiting")
            await api.start()
            # While it was away.
            await reserve(http, api.url, account, f"away-{crash}")
            await person("retry")
            assert (await next_of(person, "a"))["version"] == version + 1
            await reserve(http, api.url, account, f"back-{crash}")
            version += 2
            assert (await next_of(person, "a"))["version"] == version
        assert person.counts["a error"] == person.counts["a complete"] == 0
        assert person.counts["message complete"] == 0
