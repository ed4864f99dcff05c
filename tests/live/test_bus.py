"""The bus by itself: order, bounds, and what becomes of what is asked at once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.core import bus as module
from app.core.bus import Bus
from app.core.servers import ValkeyServer
from app.core.telemetry import PUBLISH_FAILURES
from tests.conftest import Servers
from tests.live.conftest import Faults
from tests.live.wires import wire
from tests.support.live import counted, until

# Nobody else's channels, though the server may be shared.
T = f"test-{uuid4().hex}"


@dataclass(frozen=True)
class Text:
    """A message that shows how it was merged."""

    text: str

    def merged(self, newer: "Text") -> "Text":
        return Text(f"{self.text}+{newer.text}")

    def encode(self) -> bytes:
        return self.text.encode()


@asynccontextmanager
async def _bus(url: str, timeout_seconds: float = 5.0) -> AsyncIterator[Bus]:
    bus = Bus(url, timeout_seconds)
    bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


async def _only(redis: Redis, *channels: bytes) -> bool:
    return list(await redis.pubsub_channels(f"{T}:*")) == [*channels]


async def test_what_is_published_is_heard_in_order_by_who_listens(servers: Servers) -> None:
    async with _bus(servers.redis) as one, _bus(servers.redis) as two:
        heard: list[bytes] = []
        other: list[bytes] = []
        await two.subscribe(f"{T}:a", heard.append)
        await two.subscribe(f"{T}:b", other.append)
        await until(lambda: two._up, "the line")
        for number in range(100):
            one.publish(f"{T}:a", Text(f"{number}"))
            await until(lambda: not one._queue, "its going out")
        await until(lambda: len(heard) == 100, "all")
        assert heard == [f"{number}".encode() for number in range(100)]
        assert other == []


async def test_messages_that_wait_for_one_channel_become_one(servers: Servers) -> None:
    async with _bus(servers.redis) as bus:
        heard: list[tuple[str, bytes]] = []
        await bus.subscribe(f"{T}:a", lambda data: heard.append(("a", data)))
        await bus.subscribe(f"{T}:b", lambda data: heard.append(("b", data)))
        await until(lambda: bus._up and all(c.heard.is_set() for c in bus._channels.values()), "it")
        # Nothing is sent before this task waits.
        bus.publish(f"{T}:a", Text("1"))
        bus.publish(f"{T}:b", Text("2"))
        bus.publish(f"{T}:a", Text("3"))
        await until(lambda: len(heard) == 2, "both")
        assert heard == [("b", b"2"), ("a", b"1+3")]


async def test_the_queue_is_bounded_and_what_falls_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_QUEUE_LIMIT", 10)
    bus = Bus("redis://127.0.0.1:1/0")
    with counted(PUBLISH_FAILURES) as failures:
        for number in range(25):
            bus.publish(f"{T}:{number}", Text(f"{number}"))
            bus.publish(f"{T}:{number}", Text("again"))
        assert list(bus._queue) == [f"{T}:{number}" for number in range(15, 25)]
        assert failures() == 15


async def test_a_long_queue_goes_out_in_pieces(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_LIMIT", 7)
    bus = Bus(servers.redis, 5.0)
    sizes: list[int] = []
    send = bus._send

    async def count(batch: list[Any]) -> None:
        sizes.append(len(batch))
        await send(batch)

    monkeypatch.setattr(bus, "_send", count)
    for number in range(20):
        bus.publish(f"{T}:{number}", Text("x"))
    bus.start()
    await until(lambda: not bus._queue, "all")
    await bus.stop()
    assert sizes == [7, 7, 6]


async def test_a_subscription_is_confirmed_before_it_is_believed(servers: Servers) -> None:
    async with _bus(servers.redis) as bus, Redis.from_url(servers.redis) as redis:
        await until(lambda: bus._up, "the line")
        for number in range(50):
            heard: list[bytes] = []
            await bus.subscribe(f"{T}:{number}", heard.append)
            # Who waited for the confirmation is heard by Redis, whatever the timing.
            assert await redis.publish(f"{T}:{number}", b"x") == 1
            await until(lambda heard=heard: heard == [b"x"], "it")  # type: ignore[misc]


async def test_a_confirmation_stands_for_what_was_asked_before_it(
    start_valkey: Callable[[int], ValkeyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey = start_valkey(0)
    async with _bus(valkey.url()) as bus:
        await until(lambda: bus._up, "the line")
        confirmed: list[list[str]] = []
        confirm = bus._confirm

        def note() -> None:
            confirm()
            confirmed.append([name for name, c in bus._channels.items() if c.heard.is_set()])

        monkeypatch.setattr(bus, "_confirm", note)
        os.kill(valkey.pid, signal.SIGSTOP)
        waiting = []
        try:
            for number, name in enumerate((f"{T}:a", f"{T}:b"), 1):
                waiting.append(asyncio.create_task(bus.subscribe(name, lambda _: None)))
                await until(lambda number=number: len(bus._asked) == number, "the asking")  # type: ignore[misc]
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await asyncio.gather(*waiting)
        assert confirmed == [[f"{T}:a"], [f"{T}:a", f"{T}:b"]]


async def test_a_line_that_holds_an_answer_nobody_read_is_not_used_again(servers: Servers) -> None:
    async with _bus(servers.redis) as bus:
        pool: Any = bus._redis.connection_pool
        line = await pool.get_connection()
        await line.send_command("ECHO", "of somebody else")
        await until(lambda: line._reader is not None and line._reader._buffer, "the answer")
        await pool.release(line)
        assert await bus._redis.echo("mine") == b"mine"


async def test_unsubscribe_never_overtakes_subscribe(servers: Servers) -> None:
    async with _bus(servers.redis) as bus, Redis.from_url(servers.redis) as redis:
        await until(lambda: bus._up, "the line")

        def ignore(_: bytes) -> None: ...

        for _ in range(100):
            await bus.subscribe(f"{T}:a", ignore)
            bus.unsubscribe(f"{T}:a", ignore)
            heard: list[bytes] = []
            await bus.subscribe(f"{T}:a", heard.append)
            assert await redis.publish(f"{T}:a", b"x") == 1
            await until(lambda heard=heard: heard == [b"x"], "it")  # type: ignore[misc]
            bus.unsubscribe(f"{T}:a", heard.append)
        await until(lambda: _only(redis), "no channel")
        assert bus._channels == {}


async def test_many_who_come_and_go_at_once_leave_what_they_leave(servers: Servers) -> None:
    async with _bus(servers.redis) as bus, Redis.from_url(servers.redis) as redis:
        await until(lambda: bus._up, "the line")

        async def visit(number: int) -> None:
            heard: list[bytes] = []
            for _ in range(5):
                await bus.subscribe(f"{T}:{number % 10}", heard.append)
                await asyncio.sleep(0)
                bus.unsubscribe(f"{T}:{number % 10}", heard.append)

        stays: list[bytes] = []
        await bus.subscribe(f"{T}:3", stays.append)
        await asyncio.gather(*(visit(number) for number in range(100)))
        assert list(bus._channels) == [f"{T}:3"]
        await until(lambda: _only(redis, f"{T}:3".encode()), "one channel")
        assert await redis.publish(f"{T}:3", b"x") == 1
        await until(lambda: stays == [b"x"], "it")


async def test_two_handlers_of_a_channel_leave_each_for_itself(servers: Servers) -> None:
    async with _bus(servers.redis) as bus, Redis.from_url(servers.redis) as redis:
        await until(lambda: bus._up, "the line")
        one: list[bytes] = []
        two: list[bytes] = []
        await bus.subscribe(f"{T}:a", one.append)
        await bus.subscribe(f"{T}:a", two.append)
        await redis.publish(f"{T}:a", b"1")
        await until(lambda: one == two == [b"1"], "both")
        bus.unsubscribe(f"{T}:a", one.append)
        bus.unsubscribe(f"{T}:a", one.append)
        bus.unsubscribe(f"{T}:never", one.append)
        await redis.publish(f"{T}:a", b"2")
        await until(lambda: two == [b"1", b"2"], "the second")
        assert one == [b"1"]


async def test_a_handler_that_fails_ends_no_listening(servers: Servers, faults: Faults) -> None:
    faults.expect("bus.handler_failed")
    async with _bus(servers.redis) as bus, Redis.from_url(servers.redis) as redis:
        await until(lambda: bus._up, "the line")
        heard: list[bytes] = []

        def fails(data: bytes) -> None:
            heard.append(data)
            raise ValueError(data)

        await bus.subscribe(f"{T}:a", fails)
        await redis.publish(f"{T}:a", b"1")
        await redis.publish(f"{T}:a", b"2")
        await until(lambda: heard == [b"1", b"2"], "both")


async def test_a_gap_is_told_after_the_channels_are_heard_again(
    start_valkey: Callable[[int], ValkeyServer],
) -> None:
    valkey = start_valkey(0)
    async with _bus(valkey.url()) as bus, Redis.from_url(valkey.url()) as redis:
        await until(lambda: bus._up, "the line")
        told: list[bool] = []
        bus.on_gap(lambda: told.append(all(c.heard.is_set() for c in bus._channels.values())))
        await bus.subscribe(f"{T}:a", lambda _: None)
        await bus.subscribe(f"{T}:b", lambda _: None)
        assert told == []
        for times in range(1, 6):
            await redis.client_kill_filter(_type="pubsub")
            await until(lambda times=times: len(told) == times, "the word")  # type: ignore[misc]
            assert await redis.publish(f"{T}:a", b"x") == 1
            assert await redis.publish(f"{T}:b", b"x") == 1
        assert told == [True] * 5


async def test_a_connection_without_channels_tells_of_no_gap(
    start_valkey: Callable[[int], ValkeyServer],
) -> None:
    valkey = start_valkey(0)
    async with _bus(valkey.url()) as bus:
        told: list[int] = []
        bus.on_gap(lambda: told.append(1))
        await until(lambda: bus._up, "the line")
        # Who subscribes on a line that stands has missed nothing.
        await bus.subscribe(f"{T}:a", lambda _: None)
        assert bus._channels[f"{T}:a"].heard.is_set()
        assert told == []


async def test_stopping_sends_what_is_queued(servers: Servers) -> None:
    async with _bus(servers.redis) as listener:
        await until(lambda: listener._up, "the line")
        for number in range(20):
            heard: list[bytes] = []
            await listener.subscribe(f"{T}:{number}", heard.append)
            bus = Bus(servers.redis, 5.0)
            bus.start()
            if number % 2:
                # The queue may be on its way already.
                await asyncio.sleep(0)
            bus.publish(f"{T}:{number}", Text("last"))
            if number % 3:
                await asyncio.sleep(0)
            await bus.stop()
            await until(lambda heard=heard: heard == [b"last"], "it")  # type: ignore[misc]


async def test_stopping_waits_for_nobody_who_does_not_answer() -> None:
    async with wire(None) as silent:
        for seconds in (0.0, 0.02):
            with counted(PUBLISH_FAILURES):
                bus = Bus(f"redis://127.0.0.1:{silent.port}/0", 0.05)
                bus.start()
                await bus.subscribe(f"{T}:a", lambda _: None)
                bus.publish(f"{T}:a", Text("never"))
                await asyncio.sleep(seconds)
                await bus.stop()
                assert all(task.done() for task in bus._tasks)


async def test_it_stops_whatever_it_is_about(servers: Servers) -> None:
    # Connecting, the client may swallow what cancels it: so it is stopped at every turn.
    async with wire(None) as silent:
        for url in (servers.redis, f"redis://127.0.0.1:{silent.port}/0"):
            for turns in range(60):
                bus = Bus(url, 0.02)
                bus.start()
                for _ in range(turns):
                    await asyncio.sleep(0)
                async with asyncio.timeout(2):
                    await bus.stop()
                assert all(task.done() for task in bus._tasks)


async def test_a_bus_that_was_never_started_stops_too(servers: Servers) -> None:
    await Bus(servers.redis).stop()


async def test_ping_tells_whether_redis_answers(servers: Servers) -> None:
    up = Bus(servers.redis, 5.0)
    assert await up.ping() is True
    await up.stop()
    async with wire(None) as silent:
        hangs = Bus(f"redis://127.0.0.1:{silent.port}/0", 0.05)
        assert await hangs.ping() is False
        await hangs.stop()
    gone = Bus(f"redis://127.0.0.1:{silent.port}/0", 0.05)
    assert await gone.ping() is False
    await gone.stop()
