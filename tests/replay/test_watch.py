"""The subscribers: what they accept, what they report, how they come back."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.replay import watch as module
from app.replay.errors import ReplayError
from app.replay.watch import Watch

IDS = ["one", "two"]


@asynccontextmanager
async def _watched(*sockets: Sequence[tuple[int, int]] | str) -> AsyncIterator[Watch]:
    """Push (organization, version) pairs: those of the first socket, of the next, …

    A text is sent instead, as it is.
    """
    opened = 0
    seen: list[dict[str, Any]] = []

    async def speak(socket: ServerConnection) -> None:
        nonlocal opened
        pushes = sockets[min(opened, len(sockets) - 1)]
        opened += 1
        seen.append(orjson.loads(await socket.recv()))
        await socket.send('{"type": "connection_ack"}')
        asked = [orjson.loads(await socket.recv()) for _ in IDS]
        assert [(a["type"], a["id"], a["payload"]["variables"]) for a in asked] == [
            ("subscribe", "0", {"id": "one"}),
            ("subscribe", "1", {"id": "two"}),
        ]
        if isinstance(pushes, str):
            await socket.send(pushes)
            return
        await socket.send('{"type": "ping"}')
        assert orjson.loads(await socket.recv()) == {"type": "pong"}
        for number, version in pushes:
            data = {"creditBalanceUpdated": {"version": version}}
            message = {"type": "next", "id": str(number), "payload": {"data": data}}
            await socket.send(orjson.dumps(message).decode())
        if opened == len(sockets):
            # The last one stays open until the watcher leaves.
            with pytest.raises(ConnectionClosed):
                await socket.recv()

    async with serve(
        speak, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")]
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield Watch(f"http://127.0.0.1:{port}/graphql", "secret", IDS)
    assert all(
        message == {"type": "connection_init", "payload": {"Authorization": "Bearer secret"}}
        for message in seen
    )


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)


async def test_rising_versions_are_in_order() -> None:
    async with _watched([(0, 1), (1, 4), (0, 2), (0, 7)]) as watch, watch.open():
        assert await watch.lagging([7, 4]) == []
        assert (watch.pushes, watch.reconnects, watch.sockets) == (4, 0, 1)
        assert watch.backwards == []


@pytest.mark.parametrize("again", [5, 4])
async def test_a_version_that_does_not_rise_is_reported(again: int) -> None:
    async with _watched([(0, 5), (1, 1), (0, again), (1, 2)]) as watch, watch.open():
        assert await watch.lagging([5, 2]) == []
        assert watch.backwards == [f"organization one: version {again} was pushed after 5"]


async def test_a_balance_that_is_never_pushed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_SECONDS", 0.05)
    async with _watched([(0, 5), (1, 1)]) as watch, watch.open():
        assert await watch.lagging([5, 2]) == [1]
        assert watch.newest(1) == 1


async def test_a_lost_socket_is_opened_again_and_its_snapshot_may_repeat() -> None:
    first, second = [(0, 5), (1, 1)], [(0, 5), (1, 3)]
    async with _watched(first, second) as watch, watch.open():
        assert await watch.lagging([5, 3]) == []
        assert (watch.reconnects, watch.backwards) == (1, [])


async def test_a_snapshot_that_goes_back_is_reported() -> None:
    first, second = [(0, 5), (1, 1)], [(0, 4), (1, 3)]
    async with _watched(first, second) as watch, watch.open():
        assert await watch.lagging([5, 3]) == []
        assert watch.backwards == ["organization one: version 4 was pushed after 5"]


async def test_an_error_ends_the_socket_and_begins_another() -> None:
    broken = '{"type": "error", "id": "0", "payload": [{"message": "BUSY"}]}'
    async with _watched(broken, [(0, 1), (1, 1)]) as watch, watch.open():
        assert (watch.reconnects, watch.backwards) == (1, [])


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (
            '{"type": "error", "id": "0", "payload": "no right"}',
            "the balances cannot be watched: error: no right",
        ),
        (
            '{"type": "next", "id": "0", "payload": {"errors": [{"message": "No right."}]}}',
            "the balances cannot be watched: No right.",
        ),
    ],
)
async def test_a_watch_that_cannot_begin_says_why(
    monkeypatch: pytest.MonkeyPatch, answer: str, trouble: str
) -> None:
    monkeypatch.setattr(module, "_START_SECONDS", 0.2)
    async with _watched(answer) as watch:
        with pytest.raises(ReplayError) as refused:
            async with watch.open():
                pytest.fail("it must not begin")
    assert str(refused.value) == trouble


async def test_many_organizations_share_few_sockets() -> None:
    watch = Watch("http://127.0.0.1:9/graphql", "secret", [str(n) for n in range(101)])
    assert watch.sockets == 3
