"""What breaks in a round. Entering a fault strikes; leaving it mends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import Random

import asyncpg

from tests.proof.crashes.installation import Installation

Strike = Callable[[Installation, Random], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _api_killed(installation: Installation, chance: Random) -> AsyncIterator[None]:
    api = chance.choice(installation.apis)
    api.kill()
    installation.answering.remove(api)
    try:
        yield
    finally:
        await api.start()
        installation.answering = list(installation.apis)


@asynccontextmanager
async def _api_stopped(installation: Installation, chance: Random) -> AsyncIterator[None]:
    api = chance.choice(installation.apis)
    os.kill(api.pid, signal.SIGSTOP)
    installation.answering.remove(api)
    try:
        yield
    finally:
        # It wakes with requests whose callers have long been answered by the other.
        os.kill(api.pid, signal.SIGCONT)
        installation.answering = list(installation.apis)


@asynccontextmanager
async def _backend_killed(installation: Installation, chance: Random) -> AsyncIterator[None]:
    admin = await asyncpg.connect(installation.admin_url)
    backends = await admin.fetch(
        "select pid from pg_stat_activity where application_name = 'exchequer'"
        " order by state = 'active' desc, backend_start"
    )
    admin.terminate()
    os.kill(chance.choice(backends[: max(1, len(backends) // 2)])["pid"], signal.SIGKILL)
    yield
    await installation.accepts()


@asynccontextmanager
async def _postgres_killed(installation: Installation, _chance: Random) -> AsyncIterator[None]:
    installation.postgres.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(installation.postgres.start)


@asynccontextmanager
async def _valkey_killed(installation: Installation, _chance: Random) -> AsyncIterator[None]:
    installation.valkey.kill()
    try:
        yield
    finally:
        await asyncio.to_thread(installation.valkey.start)


@asynccontextmanager
async def _cut_after_commit(installation: Installation, chance: Random) -> AsyncIterator[None]:
    installation.proxy.cuts_left = chance.randint(1, 40)
    try:
        yield
    finally:
        installation.proxy.cuts_left = 0


@asynccontextmanager
async def _reset(installation: Installation, _chance: Random) -> AsyncIterator[None]:
    installation.proxy.reset()
    yield


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break."""

    strike: Strike
    # Whether lost requests can be answered while it is still broken; else it is mended first.
    answers_meanwhile: bool = True


FAULTS = {
    "API killed": Fault(_api_killed),
    "API stopped": Fault(_api_stopped),
    "backend killed": Fault(_backend_killed, answers_meanwhile=False),
    "Postgres killed": Fault(_postgres_killed, answers_meanwhile=False),
    "Valkey killed": Fault(_valkey_killed),
    "cut after commit": Fault(_cut_after_commit),
    "connections reset": Fault(_reset),
}


def drawn(seed: int, number: int) -> str:
    """Return the fault of a round: every one comes once in as many rounds as there are."""
    deck = sorted(FAULTS)
    turn, place = divmod(number - 1, len(deck))
    Random(f"{seed}/{turn}").shuffle(deck)  # to be drawn again
    return deck[place]
