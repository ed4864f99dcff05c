"""The balance as it is pushed: a snapshot first, then each change, versions only rise."""

import asyncio
import json
import random
import socket
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app.core.database import Database, Unavailable
from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.rows import Balance
from tests.conftest import Servers
from tests.live.conftest import Start
from tests.support.accounts import CREDIT, Accounts
from tests.support.live import BALANCE, BALANCE_FIGURES, Tape, init_message, until

BURST = 60


async def _spend(credits: Credits, account: UUID, times: int, name: str = "spend") -> None:
    await asyncio.gather(
        *(credits.deduct(account, CREDIT // 100, f"{name}-{number}") for number in range(times))
    )


async def test_a_socket_gets_the_snapshot_and_then_each_change(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert await stream.next() == {"version": 2, "available": "10", "reserved": "0"}
        assert (await server.deduct(account, "1.5"))["version"] == 3
        assert await stream.next() == {"version": 3, "available": "8.5", "reserved": "0"}
        done = await server.do("reserveCredits", account, amount="4")
        assert await stream.next() == {"version": 4, "available": "4.5", "reserved": "4"}
        reservation = done["reservation"]["id"]
        await server.do("settleCredits", account, reservationId=reservation, amount="3")
        assert await stream.next() == {"version": 5, "available": "5.5", "reserved": "0"}


async def test_server_sent_events_carry_the_same(live: Start, accounts: Accounts) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.events(BALANCE_FIGURES, account) as stream:
        assert await stream.next() == {"version": 2, "available": "10", "reserved": "0"}
        await server.deduct(account, "1.5")
        assert await stream.next() == {"version": 3, "available": "8.5", "reserved": "0"}
        await server.do("grantCredits", account, amount="2", source="TOP_UP")
        assert await stream.next() == {"version": 4, "available": "10.5", "reserved": "0"}


async def test_who_comes_later_begins_with_the_balance_of_then(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    account = await accounts.open(10)
    async with server.socket() as client:
        early = await client.watch(BALANCE_FIGURES, account)
        assert (await early.next())["version"] == 2
        await server.deduct(account)
        assert (await early.next())["version"] == 3
        late = await client.watch(BALANCE_FIGURES, account)
        assert (await late.next())["version"] == 3
        await server.deduct(account)
        assert (await early.next())["version"] == 4
        assert (await late.next())["version"] == 4


async def test_what_moves_nothing_pushes_nothing(live: Start, accounts: Accounts) -> None:
    server = await live()
    account, other = await accounts.open(10), await accounts.open(10)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        await server.deduct(account, idempotencyKey="once")
        assert (await stream.next())["version"] == 3
        await server.deduct(account, idempotencyKey="once")
        await server.deduct(other)
        await server.deduct(account, idempotencyKey="twice")
        assert (await stream.next())["version"] == 4


async def test_messages_out_of_order_and_in_duplicate_never_turn_back(
    live: Start, accounts: Accounts, database: Database, servers: Servers
) -> None:
    server = await live()
    account = await accounts.open(10)
    tape = Tape(database)
    await _spend(tape.credits, account, 5)
    third, second, first, fifth, fourth = (
        sorted(tape.news, key=lambda news: news.version)[at] for at in (2, 1, 0, 4, 3)
    )
    channel = f"credits:{{{account}}}"
    async with server.socket() as client, Redis.from_url(servers.redis) as redis:
        # The snapshot is that of version 7; the feed is told to forget it.
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 7
        [watch] = server.feed._watches[account]
        watch._version = 2
        [member] = server.members(account)
        member.version = 2
        for news in (third, second, first, third):
            await redis.publish(channel, news.encode())
        assert (await stream.next())["version"] == 5
        for news in (fifth, fourth, fifth, first, second, third):
            await redis.publish(channel, news.encode())
        assert (await stream.next())["version"] == 7
        shuffled = tape.news * 20
        random.Random(7).shuffle(shuffled)
        for news in shuffled:
            await redis.publish(channel, news.encode())
        # Messages keep their order: had one of them been pushed, it would come before.
        assert (await server.deduct(account))["version"] == 8
        assert (await stream.next())["version"] == 8


async def test_a_message_nobody_can_read_is_a_reason_to_look_at_postgres(
    live: Start, accounts: Accounts, database: Database, servers: Servers
) -> None:
    server = await live()
    account = await accounts.open(10)
    tape = Tape(database)
    await tape.credits.deduct(account, CREDIT // 100, "first")
    known = json.loads(tape.news[0].encode())
    async with server.socket() as client, Redis.from_url(servers.redis) as redis:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 3
        unreadable = [
            b"",
            b"\xff",
            b"no JSON",
            b"[]",
            b"{}",
            json.dumps({**known, "balance": None}).encode(),
            json.dumps({**known, "balance": {**known["balance"], "new": 1}}).encode(),
            json.dumps({**known, "balance": {**known["balance"], "period_end": 1}}).encode(),
            json.dumps({**known, "balance": {**known["balance"], "account_id": 1}}).encode(),
            json.dumps({**known, "balance": {**known["balance"], "balance_version": "9"}}).encode(),
            json.dumps({**known, "reservations": [{}]}).encode(),
        ]
        for number, data in enumerate(unreadable, 1):
            # It tells that something happened: the newest is fetched, though nothing came.
            await tape.credits.deduct(account, CREDIT // 100, f"silent-{number}")
            await redis.publish(f"credits:{{{account}}}", data)
            assert (await stream.next())["version"] == 3 + number, data
        # And the feed goes on.
        await server.deduct(account)
        assert (await stream.next())["version"] == 4 + len(unreadable)


async def test_a_slow_reader_gets_the_newest_and_never_a_backlog(
    live: Start, accounts: Accounts
) -> None:
    server = await live()
    # Little fits into the sockets' buffers, and each push is large.
    [listener] = server._server.servers[0].sockets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    names = " ".join(f"{'a' * 500}{number}: overage" for number in range(29))
    account = await accounts.open(10)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.settimeout(0)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", server.port))
    connection = await server.handshake(sock=small, max_queue=1, compression=None)
    try:
        await connection.send(init_message())
        await connection.recv()
        payload = {"query": BALANCE % f"version {names}", "variables": {"id": str(account)}}
        await connection.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        await until(lambda: server.feed._watches.get(account), "the subscription")
        [watch] = server.feed._watches[account]
        for number in range(BURST):
            await server.services.credits.deduct(account, CREDIT // 100, f"d-{number}")
        [member] = server.members(account)
        await until(lambda: member.version == 2 + BURST, "the last message")
        # It waits in the slot, and nothing else does.
        assert [told.version for told in member._queue] == [2 + BURST]
        assert (watch._balance, watch._changes) == (None, {})
        versions: list[int] = []
        while not versions or versions[-1] < 2 + BURST:
            message = json.loads(await asyncio.wait_for(connection.recv(), 10))
            versions.append(message["payload"]["data"]["creditBalanceUpdated"]["version"])
        assert versions == sorted(set(versions))
        assert versions[-1] == 2 + BURST
        assert len(versions) < BURST // 2
        await server.deduct(account)
        message = json.loads(await asyncio.wait_for(connection.recv(), 10))
        assert message["payload"]["data"]["creditBalanceUpdated"]["version"] == 3 + BURST
    finally:
        await connection.close()


async def test_a_burst_is_pushed_at_most_ten_times_a_second(
    live: Start, accounts: Accounts
) -> None:
    """What exactly that means stands in test_watch; here, that the real feed does it."""
    server = await live(feed_pushes_per_second=10)
    account = await accounts.open(10)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        loop = asyncio.get_running_loop()
        began = loop.time()
        await _spend(server.services.credits, account, BURST)
        pushes = await stream.until_version(2 + BURST)
        took = loop.time() - began
        assert len(pushes) <= 1 + took * 10
        assert len(pushes) < BURST


async def test_a_look_at_postgres_that_fails_is_repeated(
    live: Start, accounts: Accounts, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await live(feed_resync_seconds=0.05)
    account = await accounts.open(10)
    look = Credits.newer_balances
    errors: list[Exception] = [Unavailable("down"), Refusal("BUSY"), RuntimeError("a fault")]

    async def fail(self: Credits, known: dict[UUID, int]) -> list[Balance]:
        if errors:
            raise errors.pop()
        return await look(self, known)

    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        monkeypatch.setattr(Credits, "newer_balances", fail)
        await until(lambda: len(errors) < 3, "the first failure")
        await Credits(database).deduct(account, CREDIT, "silent")
        assert (await stream.next())["version"] == 3
        assert errors == []
