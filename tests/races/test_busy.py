"""Who waits for longer than two seconds is told so, and nothing of it happened."""

import asyncio

from app.credits import Credits
from tests.races.scenes import OPERATIONS, SCENES, answer, stages, turn
from tests.support.accounts import Accounts
from tests.support.clock import Clock
from tests.support.races import Race, Session

BUSY = "BUSY {}"


async def test_every_operation_gives_up_after_two_seconds(
    race: Race, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    scene = SCENES["enough for both"]
    made = await stages(len(OPERATIONS), scene, credits, accounts, clock)
    await clock.set(scene.first_at)
    before = await accounts.snapshot()

    async def lock_all(session: Session) -> None:
        for on in made:
            await session.credits.catch_up(on.account)

    await race.hold(lock_all)
    waiting = [
        await race.queue(turn(operation, on))
        for operation, on in zip(OPERATIONS.values(), made, strict=True)
    ]
    assert dict(zip(OPERATIONS, await asyncio.gather(*waiting), strict=True)) == dict.fromkeys(
        OPERATIONS, BUSY
    )
    await race.rollback()
    assert await accounts.snapshot() == before
    # BUSY is no answer that sticks: the same request, asked again, is decided.
    for operation, on in zip(OPERATIONS.values(), made, strict=True):
        assert await answer(operation, credits, on) != BUSY
