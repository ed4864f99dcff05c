"""Several API processes on one Postgres and one Redis; crowds; and nothing left of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis

from app.core.servers import ValkeyServer
from app.core.telemetry import FEED_SUBSCRIBERS
from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.live import (
    BALANCE_FIGURES,
    RESERVATIONS,
    TRANSACTIONS,
    LiveServer,
    Socket,
    Stream,
    until,
)

CROWD = 200

_Side = tuple[LiveServer, Stream]


@asynccontextmanager
async def _sockets(servers: list[LiveServer], each: int) -> AsyncIterator[list[Socket]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(server.socket())
            for server in servers
            for _ in range(each)
        ]


@asynccontextmanager
async def _both(live: Start, account: UUID, document: str) -> AsyncIterator[list[_Side]]:
    """Two processes, and a subscriber on each."""
    servers = [await live(), await live()]
    async with _sockets(servers, each=1) as sockets:
        streams = [await client.watch(document, account) for client in sockets]
        for server in servers:
            await server.watched(account)
        yield list(zip(servers, streams, strict=True))


async def test_a_balance_moved_by_one_process_is_pushed_by_the_other(
    live: Start, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with _both(live, account, BALANCE_FIGURES) as sides:
        for _, stream in sides:
            assert (await stream.next())["version"] == 2
        for server, _ in sides:
            balance = await server.deduct(account, "0.25")
            for _, stream in sides:
                assert await stream.next() == balance


async def test_a_row_written_by_one_process_is_pushed_by_the_other(
    live: Start, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with _both(live, account, TRANSACTIONS) as sides:
        for server, _ in sides:
            version = (await server.deduct(account, "0.25"))["version"]
            for _, stream in sides:
                assert (await stream.next())["version"] == version


async def test_a_reservation_of_one_process_is_pushed_by_the_other(
    live: Start, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with _both(live, account, RESERVATIONS) as sides:
        for server, _ in sides:
            done = await server.do("reserveCredits", account, amount="0.5")
            for _, stream in sides:
                assert await stream.next() == done["reservation"]


async def test_two_hundred_subscribers_of_one_account_all_get_the_final_version(
    live: Start, accounts: Accounts
) -> None:
    servers = [await live(), await live()]
    account = await accounts.open(10)
    async with _sockets(servers, each=2) as sockets:
        streams = [
            await sockets[number % 4].watch(BALANCE_FIGURES, account) for number in range(CROWD)
        ]
        for server in servers:
            await server.watched(account, by=CROWD // 2)
        # One subscription in Redis, however many subscribers.
        assert [list(server.bus._channels) for server in servers] == [
            [f"credits:{{{account}}}"],
            [f"credits:{{{account}}}"],
        ]
        await asyncio.gather(
            *(
                servers[number % 2].services.credits.deduct(account, CREDIT // 100, f"d{number}")
                for number in range(100)
            )
        )
        for stream in streams:
            assert (await stream.until_version(102))[-1]["available"] == "9"


async def test_subscribers_of_two_hundred_accounts_all_get_their_final_version(
    live: Start, accounts: Accounts
) -> None:
    writer, server = await live(), await live(socket_operations=CROWD)
    project = await accounts.project()
    ids = [await accounts.open(project_id=project) for _ in range(CROWD)]
    async with server.socket() as client:
        streams = [await client.watch(BALANCE_FIGURES, account) for account in ids]
        await until(lambda: server.groups.open == CROWD, "all")
        for account in ids:
            await server.watched(account)
        credits = writer.services.credits
        for number in range(1, 4):
            await asyncio.gather(
                *(
                    credits.issue_grant(account, number * CREDIT, "promotional", f"g{number}")
                    for account in ids
                )
            )
        for stream in streams:
            pushes = await stream.until_version(4)
            assert pushes[-1] == {"version": 4, "available": "6", "reserved": "0"}
    await until(lambda: not server.bus._channels, "the end")


async def test_a_process_has_one_connection_for_listening_and_leaves_no_channel_behind(
    live: Start, accounts: Accounts, start_valkey: Callable[[int], ValkeyServer]
) -> None:
    valkey = start_valkey(0)
    servers = [await live(redis_url=valkey.url()) for _ in range(2)]
    ids = [await accounts.open(10) for _ in range(3)]
    gauge = FEED_SUBSCRIBERS.labels("balance")._value
    open_before = gauge.get()
    async with Redis.from_url(valkey.url()) as redis:

        async def channels() -> dict[bytes | str, int]:
            names = await redis.pubsub_channels()
            return dict(await redis.pubsub_numsub(*names)) if names else {}

        async with _sockets(servers, each=2) as sockets:
            for client in sockets:
                for account in ids * 2:
                    await (await client.watch(BALANCE_FIGURES, account)).next()
            assert gauge.get() == open_before + 24
            listening = await redis.client_list(_type="pubsub")
            assert len(listening) == 2
            assert [client["sub"] for client in listening] == ["3", "3"]
            wanted: dict[bytes | str, int] = {
                f"credits:{{{account}}}".encode(): 2 for account in ids
            }
            assert await channels() == wanted
            # Of 24 subscribers, those of the first account leave: 2 on each of 4 sockets.
            for client in sockets:
                for name in ("1", "4"):
                    await client.send({"type": "complete", "id": name})
            for server in servers:
                await until(lambda s=server: len(s.feed._watches) == 2, "less")  # type: ignore[misc]
            del wanted[f"credits:{{{ids[0]}}}".encode()]

            async def less() -> bool:
                return await channels() == wanted

            await until(less, "fewer channels")
        for server in servers:
            await until(lambda s=server: not s.feed._watches, "the end")  # type: ignore[misc]
            assert (server.groups.open, server.bus._channels) == (0, {})
        wanted.clear()
        await until(less, "no channel")
        assert await redis.client_list(_type="pubsub") == []
        assert gauge.get() == open_before


async def test_who_vanishes_without_a_word_is_forgotten(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as stays:
        stream = await stays.watch(BALANCE_FIGURES, account)
        await stream.next()
        for _ in range(5):
            async with server.socket() as client:
                for document in (BALANCE_FIGURES, TRANSACTIONS, RESERVATIONS):
                    await client.watch(document, account)
                await server.watched(account, by=4)
                client.connection.transport.abort()
            # Some of it may be noticed only when something is sent.
            version = (await server.deduct(account, "0.01"))["version"]
            assert (await stream.next())["version"] == version
            await server.watched(account, by=1)


async def test_coming_and_going_at_once_never_loses_who_stays(
    live: Start, accounts: Accounts
) -> None:
    """Subscribe and unsubscribe of one channel cross each other; the last word counts."""
    writer, server = await live(), await live()
    account = await accounts.open(100)
    credits = writer.services.credits
    for number in range(25):
        async with server.feed.watch(account) as first:
            await anext(first)
        # The channel is being left this very moment.
        async with server.feed.watch(account) as second:
            await anext(second)
            async with server.feed.watch(account) as third:
                await anext(third)
            row = await credits.deduct(account, CREDIT, f"d-{number}")
            async with asyncio.timeout(10):
                push = await anext(second)
            assert push.balance == row.balance
    assert (server.feed._watches, server.bus._channels) == ({}, {})
