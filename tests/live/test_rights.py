"""A right that ends takes its open streams with it, whether anything moves or not."""

import pytest

from app.core.database import Database
from app.identity import Identity
from tests.live.conftest import Start
from tests.support.accounts import Accounts
from tests.support.keys import key_of
from tests.support.live import BALANCE_FIGURES, RESERVATIONS, TRANSACTIONS, until

SOON = {"rights_recheck_seconds": 0.1, "key_cache_seconds": 0}


@pytest.mark.parametrize("document", [BALANCE_FIGURES, TRANSACTIONS, RESERVATIONS])
async def test_a_revoked_key_ends_its_streams_though_nothing_moves(
    live: Start, accounts: Accounts, database: Database, document: str
) -> None:
    server = await live(**SOON)
    account = await accounts.open(10)
    secret, key_id = await key_of(database, "organization", account)
    async with (
        server.socket(secret) as client,
        server.socket() as admins,
        server.events(document, account, secret) as events,
    ):
        stream = await client.watch(document, account)
        stays = await admins.watch(BALANCE_FIGURES, account)
        await server.watched(account, by=3)
        # By another process: this one has to find out.
        await Identity(database).revoke_api_key(key_id)
        for ended in (stream, events):
            if document == BALANCE_FIGURES:
                assert (await ended.next())["version"] == 2
            assert await ended.refused() == "UNAUTHENTICATED"
            await ended.completed()
        await until(lambda: len(server.members(account)) == 1, "the end of two")
        assert (await stays.next())["version"] == 2
        await server.deduct(account)
        assert (await stays.next())["version"] == 3


async def test_nothing_is_pushed_once_the_check_is_due(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live(key_cache_seconds=0)
    account = await accounts.open(10)
    secret, key_id = await key_of(database, "organization", account)
    async with server.socket(secret) as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        await Identity(database).revoke_api_key(key_id)
        # The check is due and there is news: the check comes first.
        [member] = server.members(account)
        member._is_due = True
        await server.deduct(account)
        assert await stream.refused() == "UNAUTHENTICATED"
        await stream.completed()


async def test_a_key_that_stays_good_is_asked_for_again_and_again_and_goes_on(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live(**SOON)
    account = await accounts.open(10)
    secret, _ = await key_of(database, "organization", account)
    asked = 0
    viewer = server.services.identity.viewer

    async def count(key: str | None) -> object:
        nonlocal asked
        asked += 1
        return await viewer(key)

    async with server.socket(secret) as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        monkeypatch.setattr(server.services.identity, "viewer", count)
        await until(lambda: asked >= 3, "three checks")
        await server.deduct(account)
        assert (await stream.next())["version"] == 3


async def test_an_open_socket_of_a_revoked_key_can_do_nothing_more(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live(key_cache_seconds=0)
    account = await accounts.open(10)
    secret, key_id = await key_of(database, "project", account)
    deduct = (
        'mutation($id: ID!) { deductCredits(input: {organizationId: $id, amount: "1",'
        ' idempotencyKey: "%s"}) { __typename } }'
    )
    async with server.socket(secret) as client:
        done = await client.watch(deduct % "before", account)
        assert await done.next() == {"__typename": "DeductCreditsSuccess"}
        await done.completed()
        await Identity(database).revoke_api_key(key_id)
        before = await accounts.snapshot()
        refused = await client.watch(deduct % "after", account)
        assert await refused.refused() == "UNAUTHENTICATED"
        refused = await client.watch(BALANCE_FIGURES, account)
        assert await refused.refused() == "UNAUTHENTICATED"
        assert await accounts.snapshot() == before
    assert server.feed._watches == {}


async def test_a_key_watches_its_own_organization_and_no_other(
    live: Start, accounts: Accounts, database: Database
) -> None:
    server = await live()
    account, other = await accounts.open(10), await accounts.open(10)
    own, _ = await key_of(database, "organization", account)
    project, _ = await key_of(database, "project", account)
    for secret in (own, project):
        async with server.socket(secret) as client:
            for document in (BALANCE_FIGURES, TRANSACTIONS, RESERVATIONS):
                refused = await client.watch(document, other)
                assert await refused.refused() == "NOT_FOUND"
                await refused.completed()
            stream = await client.watch(BALANCE_FIGURES, account)
            assert (await stream.next())["version"] == 2
    await until(lambda: not server.feed._watches, "the end")


async def test_a_process_carries_a_limited_number_of_subscribers(
    live: Start, accounts: Accounts
) -> None:
    server = await live(subscribers=2)
    one, two = await accounts.open(10), await accounts.open(10)
    async with server.socket() as client:
        name, stream = await client.subscribe(BALANCE_FIGURES, one)
        await stream.next()
        await (await client.watch(BALANCE_FIGURES, one)).next()
        for account in (one, two):
            beyond = await client.watch(BALANCE_FIGURES, account)
            assert await beyond.refused() == "BUSY"
            await beyond.completed()
        async with server.events(BALANCE_FIGURES, two) as events:
            assert await events.refused() == "BUSY"
        # Who leaves makes room.
        await client.send({"type": "complete", "id": name})
        await until(lambda: server.groups.open == 1, "room")
        assert (await (await client.watch(BALANCE_FIGURES, two)).next())["version"] == 2
        assert server.groups.open == 2
    await until(lambda: server.groups.open == 0, "the end")
