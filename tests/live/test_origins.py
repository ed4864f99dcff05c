"""Sockets and streams of pages: let in by any project, and signed in by their own alone."""

import json
from typing import Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.core.database import Database
from app.identity import Identity
from app.identity.keys import make_key
from tests.live.conftest import Start
from tests.support.accounts import Accounts
from tests.support.live import (
    ADMIN_KEY,
    BALANCE_FIGURES,
    LIMIT_SECONDS,
    LiveServer,
    init_message,
    until,
)

OURS = "https://ours.example"
THEIRS = "https://theirs.example"
EVIL = "https://evil.example"
SOON = {"origins_seconds": 0.05, "rights_recheck_seconds": 0.05, "key_cache_seconds": 0}


async def _tenant(
    accounts: Accounts, database: Database, origin: str, kind: str = "organization"
) -> tuple[UUID, UUID, str]:
    """Make a project with a page, an account with 10 credits, and a key."""
    project = await accounts.project()
    account = await accounts.open(10, project_id=project)
    await Identity(database).set_allowed_origins(project, [origin])
    new = make_key("organization" if kind == "organization" else "project")
    await Identity(database).create_api_key(
        kind,
        project,
        "Page",
        new.prefix,
        new.last4,
        new.secret_hash,
        organization_id=account if kind == "organization" else None,
    )
    return project, account, new.secret


async def _closed(server: LiveServer, key: str, origin: str, **options: Any) -> tuple[int, str]:
    """Sign in; return how the server ends it."""
    connection = await server.handshake(origin=origin, **options)
    await connection.send(init_message(key))
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.mark.parametrize("kind", ["organization", "project"])
async def test_a_page_signs_in_with_a_key_of_its_own_project_alone(
    kind: str, live: Start, accounts: Accounts, database: Database
) -> None:
    _, account, secret = await _tenant(accounts, database, OURS, kind)
    await _tenant(accounts, database, THEIRS, kind)
    server = await live(allowed_origins=["https://console.example"])
    same = f"http://127.0.0.1:{server.port}"
    for origin in (OURS, "https://console.example", same, None):
        async with server.socket(secret, origin=origin) as client:
            stream = await client.watch(BALANCE_FIGURES, account)
            assert (await stream.next())["available"] == "10"
    code, reason = await _closed(server, secret, THEIRS)
    assert (code, reason[:85]) == (
        4403,
        "Forbidden: This key may not do that. Its project does not allow the origin of this pa",
    )
    # A key of the handshake is no other.
    header = {"Authorization": f"Bearer {secret}"}
    connection = await server.handshake(origin=THEIRS, additional_headers=header)
    await connection.send('{"type":"connection_init"}')
    with pytest.raises(ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403
    # An administrator is nobody's.
    async with server.socket(ADMIN_KEY, origin=THEIRS):
        pass
    await until(lambda: not server.feed._watches, "the end")


async def test_a_page_of_nobody_opens_no_socket(
    live: Start, accounts: Accounts, database: Database
) -> None:
    await _tenant(accounts, database, OURS)
    server = await live()
    for origin in (EVIL, "null", "http://ours.example", f"{OURS}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            await server.handshake(origin=origin)
        assert refused.value.response.status_code == 403


async def test_an_open_socket_of_a_page_that_is_shut_out_can_do_nothing_more(
    live: Start, accounts: Accounts, database: Database
) -> None:
    project, account, secret = await _tenant(accounts, database, OURS, "project")
    deduct = (
        'mutation($id: ID!) { deductCredits(input: {organizationId: $id, amount: "1",'
        ' idempotencyKey: "once"}) { __typename } }'
    )
    server = await live(**SOON)
    async with server.socket(secret, origin=OURS) as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        await Identity(database).set_allowed_origins(project, [])
        # What is open ends, though nothing moves.
        assert await stream.refused() == "FORBIDDEN"
        await stream.completed()
        before = await accounts.snapshot()
        for document in (deduct, BALANCE_FIGURES):
            refused = await client.watch(document, account)
            message = await refused.message()
            [error] = message["payload"]
            assert (message["type"], error["extensions"]["code"]) == ("error", "FORBIDDEN")
            assert error["extensions"]["operation"] == "key.use"
        assert await accounts.snapshot() == before
    # Nor does it come in again.
    with pytest.raises(InvalidStatus):
        await server.handshake(origin=OURS)
    async with server.socket(secret) as client:
        done = await client.watch(deduct, account)
        assert await done.next() == {"__typename": "DeductCreditsSuccess"}


async def test_a_stream_of_a_page_that_is_shut_out_ends(
    live: Start, accounts: Accounts, database: Database
) -> None:
    project, account, secret = await _tenant(accounts, database, OURS)
    server = await live(**SOON)
    body = {"query": BALANCE_FIGURES, "variables": {"id": str(account)}}
    headers = {
        "authorization": f"Bearer {secret}",
        "accept": "text/event-stream",
        "origin": OURS,
    }
    told: list[Any] = []
    async with server._http.stream(
        "POST",
        f"http://127.0.0.1:{server.port}/graphql",
        json=body,
        headers=headers,
        timeout=LIMIT_SECONDS,
    ) as response:
        assert response.headers["access-control-allow-origin"] == OURS
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                told.append(json.loads(line.removeprefix("data: ")))
                await Identity(database).set_allowed_origins(project, [])
    first, last = told
    assert first["data"]["creditBalanceUpdated"]["version"] == 2
    assert [error["extensions"]["code"] for error in last["errors"]] == ["FORBIDDEN"]
