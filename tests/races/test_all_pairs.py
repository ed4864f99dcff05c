"""Every operation behind every other: as if they had come one after the other.

A holds the account's lock, B waits for it, time passes, A ends. A twin account goes
through the same without a race; every row and both answers must be equal. That holds
for the order in time too: B waits from before `second_at` and decides by what the clock
says when its turn comes. What time does not change, in all scenes and all orders, is
proven in `tests/proof/interleavings`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest

from app.core.database import Database, PoolLimits
from app.credits import Credits
from db.driver import Connection
from tests.conftest import Servers, _admin
from tests.races.scenes import OPERATIONS, SCENES, Scene, Stage, answer, stages, story, turn
from tests.support.accounts import Accounts
from tests.support.clock import Clock
from tests.support.races import Race


@dataclass(frozen=True)
class Prepared:
    """A database in which two accounts for each operation stand ready, to be cloned."""

    database_name: str
    scene: Scene
    made: list[Stage]


@pytest.fixture(scope="module")
async def prepared(
    request: pytest.FixtureRequest, servers: Servers, template: str
) -> AsyncIterator[Prepared]:
    name = f"exchequer_{uuid4().hex[:12]}"
    await _admin(servers, f'create database "{name}" template "{template}"')
    scene = SCENES[request.param]
    database = await Database.connect(servers.app_url(name), PoolLimits(min_size=1, max_size=1))
    admin = await asyncpg.connect(servers.admin_url(name))
    made = await stages(
        2 * len(OPERATIONS), scene, Credits(database), Accounts(database, admin), Clock(admin)
    )
    await admin.close()
    await database.close()
    yield Prepared(name, scene, made)
    await _admin(servers, f'drop database "{name}" with (force)')


@pytest.fixture
async def database_name(servers: Servers, prepared: Prepared) -> AsyncIterator[str]:
    name = f"exchequer_{uuid4().hex[:12]}"
    await _admin(servers, f'create database "{name}" template "{prepared.database_name}"')
    yield name
    await _admin(servers, f'drop database "{name}" with (force)')


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("first", OPERATIONS)
@pytest.mark.parametrize("prepared", ["both catch up"], indirect=True)
async def test_whoever_waits_finds_what_the_first_committed(
    first: str, prepared: Prepared, race: Race, credits: Credits, clock: Clock, admin: Connection
) -> None:
    made = [*prepared.made]
    for second, operation in OPERATIONS.items():
        raced, twin = made.pop(), made.pop()
        await clock.set(prepared.scene.first_at)
        expected_first = await answer(OPERATIONS[first], credits, twin)
        told_first = await race.hold(turn(OPERATIONS[first], raced))
        waiting = await race.queue(turn(operation, raced))
        await clock.set(prepared.scene.second_at)
        await race.commit()
        told_second = await waiting
        expected_second = await answer(operation, credits, twin)
        assert await story(admin, raced, told_first, told_second) == await story(
            admin, twin, expected_first, expected_second
        ), f"{second} behind {first}"


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("first", OPERATIONS)
@pytest.mark.parametrize("prepared", ["both catch up"], indirect=True)
async def test_whoever_waits_finds_nothing_of_what_was_taken_back(
    first: str, prepared: Prepared, race: Race, credits: Credits, clock: Clock, admin: Connection
) -> None:
    made = [*prepared.made]
    for second, operation in OPERATIONS.items():
        raced, twin = made.pop(), made.pop()
        await clock.set(prepared.scene.first_at)
        await race.hold(turn(OPERATIONS[first], raced))
        waiting = await race.queue(turn(operation, raced))
        await clock.set(prepared.scene.second_at)
        await race.rollback()
        told = await waiting
        expected = await answer(operation, credits, twin)
        assert await story(admin, raced, told) == await story(admin, twin, expected), (
            f"{second} behind {first}"
        )
