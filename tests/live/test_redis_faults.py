"""Redis killed, hanging, dead on the line, or full of nonsense: credits move all the same."""

import os
import signal
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from app.core.servers import ValkeyServer
from app.core.telemetry import PUBLISH_FAILURES
from app.credits.feed import News
from tests.conftest import Servers
from tests.live.conftest import Faults, Start
from tests.live.wires import wire
from tests.support.accounts import CREDIT, Accounts
from tests.support.live import (
    BALANCE_FIGURES,
    RESERVATIONS,
    TRANSACTIONS,
    LiveServer,
    counted,
    until,
)

StartValkey = Callable[[int], ValkeyServer]


def _port(servers: Servers) -> int:
    port = urlsplit(servers.redis).port
    assert port is not None
    return port


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of readiness is not good for a second, as it would be."""
    monkeypatch.setattr("app.health._KNOWN_SECONDS", 0)


async def _redis_says(server: LiveServer) -> str:
    response = await server._http.get(f"http://127.0.0.1:{server.port}/health")
    assert response.status_code == 200
    said: str = response.json()["redis"]
    return said


async def test_killed_and_started_again_it_heals_every_stream(
    live: Start, accounts: Accounts, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(0)
    port = valkey.port
    writer, server = [
        await live(redis_url=valkey.url(), redis_timeout_seconds=0.25) for _ in range(2)
    ]
    account = await accounts.open(100)
    async with server.socket() as client, server.events(BALANCE_FIGURES, account) as events:
        balances = [await client.watch(BALANCE_FIGURES, account), events]
        rows = await client.watch(TRANSACTIONS, account)
        reservations = await client.watch(RESERVATIONS, account)
        await server.watched(account, by=4)
        await writer.deduct(account)
        for stream in balances:
            await stream.until_version(3)
        assert (await rows.next())["version"] == 3

        os.kill(valkey.pid, signal.SIGKILL)
        await until(lambda: not server.bus._up and not writer.bus._up, "the loss")
        assert await _redis_says(server) == "down"
        # Postgres decides alone; nobody hears of it yet.
        for _ in range(3):
            await writer.deduct(account)
        done = await writer.do("reserveCredits", account, amount="2")
        await until(lambda: not writer.bus._queue, "that the messages are given up")
        # Who comes now gets the balance of now.
        async with server.socket() as newcomer:
            late = await newcomer.watch(BALANCE_FIGURES, account)
            assert (await late.next())["version"] == 7

        start_valkey(port)
        # No message tells of versions 4 to 7: they are found by comparing.
        for stream in balances:
            assert (await stream.until_version(7))[-1] == done["balance"]
        assert [(await rows.next())["version"] for _ in range(3)] == [4, 5, 6]
        assert await reservations.next() == done["reservation"]

        await until(lambda: server.bus._up and writer.bus._up, "the return")
        await writer.do(
            "settleCredits", account, reservationId=done["reservation"]["id"], amount="1"
        )
        for stream in balances:
            assert (await stream.next())["version"] == 8
        assert (await rows.next())["version"] == 8
        assert (await reservations.next())["status"] == "SETTLED"
        assert await _redis_says(server) == "up"


async def test_absent_from_the_start_it_is_done_without(
    live: Start, accounts: Accounts, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(0)
    port, url = valkey.port, valkey.url()
    valkey.stop()
    server = await live(redis_url=url, redis_timeout_seconds=0.25, feed_resync_seconds=0.1)
    assert await _redis_says(server) == "down"
    account = await accounts.open(10)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        with counted(PUBLISH_FAILURES) as failures:
            await server.deduct(account)
            # Found by looking: live, if not at once.
            assert (await stream.next())["version"] == 3
            await until(lambda: failures() == 1, "the count")
        start_valkey(port)
        await until(lambda: server.bus._up, "its coming")
        async with Redis.from_url(url) as redis:
            assert await redis.pubsub_channels() == [f"credits:{{{account}}}".encode()]


async def test_one_that_accepts_and_never_answers_is_waited_for_by_nobody(
    live: Start, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with wire(None) as silent:
        # Whoever waited for it would wait for ten seconds, and then there would be a failure.
        url = f"redis://:password@127.0.0.1:{silent.port}/0"
        with counted(PUBLISH_FAILURES) as failures:
            server = await live(redis_url=url, redis_timeout_seconds=10)
            await until(lambda: silent.accepted == 1, "the listener's attempt")
            async with server.socket() as client:
                stream = await client.watch(BALANCE_FIGURES, account)
                assert (await stream.next())["version"] == 2
                for version in range(3, 13):
                    assert (await server.deduct(account, "0.1"))["version"] == version
                await until(lambda: silent.accepted == 2, "the publisher's attempt")
            # Both still hang, and nothing has been given up.
            assert (failures(), server.bus._up, silent.accepted) == (0, False, 2)
            assert silent.swallowed.count(b"AUTH") == 2
            server.bus._timeout = 0.01
            await server.stop()


async def test_one_that_hangs_is_given_up_and_counted(live: Start, accounts: Accounts) -> None:
    account = await accounts.open(10)
    async with wire(None) as silent:
        with counted(PUBLISH_FAILURES) as failures:
            server = await live(
                redis_url=f"redis://127.0.0.1:{silent.port}/0", redis_timeout_seconds=0.05
            )
            await server.deduct(account, "0.1")
            await until(lambda: failures() == 1, "the first")
            # Later ones of one account gather to one message.
            for _ in range(5):
                await server.deduct(account, "0.1")
            await until(lambda: not server.bus._queue and failures() > 1, "the others")
            assert failures() <= 6
            assert await _redis_says(server) == "down"


async def test_one_that_stands_still_and_goes_on_loses_nothing(
    live: Start, accounts: Accounts, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(0)
    writer, server = [
        await live(redis_url=valkey.url(), redis_timeout_seconds=0.25) for _ in range(2)
    ]
    account, other = await accounts.open(10), await accounts.open(10)
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            with counted(PUBLISH_FAILURES) as failures:
                await writer.deduct(account)
                await until(lambda: failures() == 1, "the loss of a message")
            # The line still seems good. A new subscriber waits for one time-out at most.
            assert server.bus._up
            late = await client.watch(BALANCE_FIGURES, other)
            assert (await late.next())["version"] == 2
            await writer.services.credits.deduct(other, CREDIT, "unheard")
            await until(lambda: not writer.bus._queue, "the loss of another")
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        # Confirmed late, it is known that something may have been missed.
        assert (await late.next())["version"] == 3
        assert (await stream.next())["version"] == 3
        await until(lambda: server.bus._up and writer.bus._up, "the return")
        await writer.deduct(account)
        assert (await stream.next())["version"] == 4


async def test_a_line_that_goes_dead_without_a_word_is_noticed_and_made_anew(
    live: Start, accounts: Accounts, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.bus._PING_SECONDS", 0.1)
    async with wire(_port(servers)) as line:
        through = servers.redis.replace(str(_port(servers)), str(line.port))
        writer, server = await live(), await live(redis_url=through, redis_timeout_seconds=0.25)
        account = await accounts.open(10)
        async with server.socket() as client:
            stream = await client.watch(BALANCE_FIGURES, account)
            assert (await stream.next())["version"] == 2
            await until(lambda: server.bus._up, "the line")
            accepted = line.accepted
            line.cut()
            await writer.deduct(account)
            assert (await stream.next())["version"] == 3
            assert line.accepted == accepted + 1
            await writer.deduct(account)
            assert (await stream.next())["version"] == 4


async def test_a_line_that_was_reset_while_idle_costs_no_push(
    live: Start, accounts: Accounts, servers: Servers
) -> None:
    async with wire(_port(servers)) as line:
        through = servers.redis.replace(str(_port(servers)), str(line.port))
        writer, server = await live(redis_url=through), await live()
        account = await accounts.open(10)
        async with server.socket() as client:
            stream = await client.watch(BALANCE_FIGURES, account)
            assert (await stream.next())["version"] == 2
            for version in (3, 4, 5):
                await writer.deduct(account)
                assert (await stream.next())["version"] == version
                line.reset()
                await until(lambda: not writer.bus._up, "the loss")


async def test_a_listener_that_is_thrown_out_comes_back_and_looks_what_it_missed(
    live: Start, accounts: Accounts, start_valkey: StartValkey
) -> None:
    valkey = start_valkey(0)
    server = await live(redis_url=valkey.url())
    account = await accounts.open(100)
    async with server.socket() as client, Redis.from_url(valkey.url()) as redis:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        for version in range(3, 13):
            await until(lambda: server.bus._up, "the line")
            await redis.client_kill_filter(_type="pubsub")
            # Heard or found: never lost.
            await server.services.credits.deduct(account, CREDIT, f"d-{version}")
            assert (await stream.next())["version"] == version


async def test_a_push_that_fails_fails_no_call_and_is_counted(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    server = await live(feed_resync_seconds=0.2)
    account = await accounts.open(10)

    def broken(*_: Any) -> None:
        raise RuntimeError("the bus is broken")

    faults.expect("feed.publish_failed")
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        with counted(PUBLISH_FAILURES) as failures:
            monkeypatch.setattr(server.bus, "publish", broken)
            done = await server.do("reserveCredits", account, amount="4")
            assert done["balance"] == {"version": 3, "available": "6", "reserved": "4"}
            assert failures() == 1
        monkeypatch.undo()
        assert await stream.next() == done["balance"]
    assert faults.seen == []  # structlog's lines are counted at the end


async def test_a_message_that_cannot_be_written_stops_no_other(
    live: Start, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, faults: Faults
) -> None:
    server = await live()
    account = await accounts.open(10)

    def broken(_: News) -> bytes:
        raise TypeError("not serializable")

    faults.expect("bus.publish_broken")
    async with server.socket() as client:
        stream = await client.watch(BALANCE_FIGURES, account)
        assert (await stream.next())["version"] == 2
        with counted(PUBLISH_FAILURES) as failures:
            monkeypatch.setattr(News, "encode", broken)
            await server.deduct(account)
            await until(lambda: failures() == 1, "the count")
        monkeypatch.undo()
        await server.deduct(account)
        assert (await stream.next())["version"] == 4
