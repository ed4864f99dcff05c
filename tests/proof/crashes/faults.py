"""What breaks in a round. Entering a fault strikes; leaving it mends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

from tests.proof.crashes.moments import (
    Scene,
    backends,
    crowded,
    stopped_holder,
    under_way,
    visits_waiting,
)
from tests.proof.crashes.proxy import Moving

Strike = Callable[[Scene], AbstractAsyncContextManager[None]]
# Longer than anybody waits for a lock, shorter than for a statement.
_STOPPED_SECONDS = 2.5


@asynccontextmanager
async def _api_killed(scene: Scene) -> AsyncIterator[None]:
    installation = scene.installation
    api = scene.chance.choice(installation.apis)
    await crowded(scene)
    scene.is_met = scene.is_met and scene.asked(api) > 0
    api.kill()
    installation.answering.remove(api)
    try:
        yield
    finally:
        await api.start()
        installation.answering = list(installation.apis)


@asynccontextmanager
async def _api_stopped(scene: Scene) -> AsyncIterator[None]:
    installation = scene.installation
    api = scene.chance.choice(installation.apis)
    await crowded(scene)
    scene.is_met = scene.is_met and scene.asked(api) > 0
    os.kill(api.pid, signal.SIGSTOP)
    installation.answering.remove(api)
    try:
        yield
    finally:
        # It wakes with requests whose callers have long been answered by the other.
        os.kill(api.pid, signal.SIGCONT)
        installation.answering = list(installation.apis)


@asynccontextmanager
async def _worker_killed(scene: Scene) -> AsyncIterator[None]:
    worker = scene.chance.choice(scene.installation.workers)
    async with visits_waiting(scene):
        worker.kill()
    # Its visit has the lock now, and is carried out for nobody.
    try:
        yield
    finally:
        await scene.installation.start([worker])


@asynccontextmanager
async def _worker_stopped(scene: Scene) -> AsyncIterator[None]:
    worker = scene.chance.choice(scene.installation.workers)
    async with visits_waiting(scene):
        os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


@asynccontextmanager
async def _backend_killed(scene: Scene) -> AsyncIterator[None]:
    os.kill(await stopped_holder(scene), signal.SIGKILL)
    yield
    await scene.installation.accepts()


@asynccontextmanager
async def _backend_ended(scene: Scene) -> AsyncIterator[None]:
    """As by `pg_terminate_backend`: one session ends, and those who waited go on."""
    pid = await stopped_holder(scene)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    yield


@asynccontextmanager
async def _backend_stopped(scene: Scene) -> AsyncIterator[None]:
    pid = await stopped_holder(scene)

    async def wake() -> None:
        try:
            await asyncio.sleep(_STOPPED_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    waking = asyncio.ensure_future(wake())
    try:
        yield
    finally:
        await waking


@asynccontextmanager
async def _postgres_killed(scene: Scene) -> AsyncIterator[None]:
    postgres = scene.installation.postgres
    inside = await backends(scene)
    await crowded(scene)
    # The backends first, while their calls are inside: to find all relatives takes a while.
    os.kill(postgres.pid, signal.SIGSTOP)
    for pid in inside:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    postgres.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(postgres.start)


@asynccontextmanager
async def _postmaster_killed(scene: Scene) -> AsyncIterator[None]:
    """The postmaster alone: backends carry out what they have begun before they notice."""
    postgres = scene.installation.postgres
    await crowded(scene)
    os.kill(postgres.pid, signal.SIGKILL)
    try:
        yield
    finally:
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)


@asynccontextmanager
async def _postgres_stopped(scene: Scene) -> AsyncIterator[None]:
    await crowded(scene)
    await asyncio.to_thread(scene.installation.postgres.stop, "immediate")
    try:
        yield
    finally:
        await asyncio.to_thread(scene.installation.postgres.start)


@asynccontextmanager
async def _valkey_killed(scene: Scene) -> AsyncIterator[None]:
    valkey = scene.installation.valkey
    under_way(scene)
    valkey.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(valkey.start)


@asynccontextmanager
async def _valkey_stopped(scene: Scene) -> AsyncIterator[None]:
    valkey = scene.installation.valkey
    under_way(scene)
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


@asynccontextmanager
async def _calls_cut(scene: Scene) -> AsyncIterator[None]:
    alone, together = scene.chance.randint(1, 30), scene.chance.randint(1, 10)
    async with _cut(scene, {Moving.CALL: alone, Moving.CALL_OF_MANY: together}):
        yield


@asynccontextmanager
async def _visits_cut(scene: Scene) -> AsyncIterator[None]:
    async with _cut(scene, {Moving.VISIT: scene.chance.randint(1, 4)}):
        yield


@asynccontextmanager
async def _cut(scene: Scene, counts: dict[Moving, int]) -> AsyncIterator[None]:
    proxy = scene.installation.proxy
    before = dict(proxy.cut)
    under_way(scene)
    proxy.cuts_left.update(counts)
    try:
        yield
    finally:
        proxy.cuts_left.update(dict.fromkeys(counts, 0))
        scene.is_met = all(proxy.cut[what] > before[what] for what in counts)


@asynccontextmanager
async def _reset(scene: Scene) -> AsyncIterator[None]:
    await crowded(scene)
    scene.installation.proxy.reset()
    yield


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break."""

    strike: Strike
    # Whether lost requests can be answered while it is still broken; else it is mended first.
    answers_meanwhile: bool = True
    # Whether every first request is answered, as if nothing were broken.
    answers_all: bool = False
    # Whether time's work must be done while it is still broken, by the worker that is left.
    sweeps_meanwhile: bool = False


FAULTS = {
    "API killed": Fault(_api_killed),
    "API stopped": Fault(_api_stopped),
    "worker killed": Fault(_worker_killed, answers_all=True, sweeps_meanwhile=True),
    "worker stopped": Fault(_worker_stopped, answers_all=True, sweeps_meanwhile=True),
    "backend killed": Fault(_backend_killed, answers_meanwhile=False),
    "backend ended": Fault(_backend_ended),
    "backend stopped": Fault(_backend_stopped),
    "Postgres killed": Fault(_postgres_killed, answers_meanwhile=False),
    "postmaster killed": Fault(_postmaster_killed, answers_meanwhile=False),
    "Postgres stopped at once": Fault(_postgres_stopped, answers_meanwhile=False),
    "Valkey killed": Fault(_valkey_killed, answers_all=True),
    "Valkey stopped": Fault(_valkey_stopped, answers_all=True),
    "cut after commit": Fault(_calls_cut),
    "visits cut after commit": Fault(_visits_cut, answers_all=True, sweeps_meanwhile=True),
    "connections reset": Fault(_reset),
}


def drawn(seed: int, number: int) -> str:
    """Return the fault of a round: every one comes once in as many rounds as there are."""
    deck = sorted(FAULTS)
    turn, place = divmod(number - 1, len(deck))
    Random(f"{seed}/{turn}").shuffle(deck)  # to be drawn again
    return deck[place]
