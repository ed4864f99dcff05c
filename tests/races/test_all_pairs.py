"""Every operation behind every other: as if they had come one after the other.

A holds the account's lock, B waits for it, time passes, A ends. A twin account goes
through the same without a race; every row and both answers must be equal. That holds
for the order in time too: B waits from before `second_at` and decides by what the clock
says when its turn comes.
"""

import pytest

from app.credits import Credits
from db.driver import Connection
from tests.races.scenes import OPERATIONS, SCENES, answer, stages, story, turn
from tests.support.accounts import Accounts
from tests.support.clock import Clock
from tests.support.races import Race


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("first", OPERATIONS)
async def test_whoever_waits_finds_what_the_first_committed(
    first: str,
    name: str,
    race: Race,
    credits: Credits,
    accounts: Accounts,
    clock: Clock,
    admin: Connection,
) -> None:
    scene = SCENES[name]
    made = await stages(2 * len(OPERATIONS), scene, credits, accounts, clock)
    for second, operation in OPERATIONS.items():
        raced, twin = made.pop(), made.pop()
        await clock.set(scene.first_at)
        expected_first = await answer(OPERATIONS[first], credits, twin)
        told_first = await race.hold(turn(OPERATIONS[first], raced))
        waiting = await race.queue(turn(operation, raced))
        await clock.set(scene.second_at)
        await race.commit()
        told_second = await waiting
        expected_second = await answer(operation, credits, twin)
        assert await story(admin, raced, told_first, told_second) == await story(
            admin, twin, expected_first, expected_second
        ), f"{second} behind {first}"


@pytest.mark.parametrize("first", OPERATIONS)
async def test_whoever_waits_finds_nothing_of_what_was_taken_back(
    first: str,
    race: Race,
    credits: Credits,
    accounts: Accounts,
    clock: Clock,
    admin: Connection,
) -> None:
    scene = SCENES["both catch up"]
    made = await stages(2 * len(OPERATIONS), scene, credits, accounts, clock)
    for second, operation in OPERATIONS.items():
        raced, twin = made.pop(), made.pop()
        await clock.set(scene.first_at)
        await race.hold(turn(OPERATIONS[first], raced))
        waiting = await race.queue(turn(operation, raced))
        await clock.set(scene.second_at)
        await race.rollback()
        told = await waiting
        expected = await answer(operation, credits, twin)
        assert await story(admin, raced, told) == await story(admin, twin, expected), (
            f"{second} behind {first}"
        )
