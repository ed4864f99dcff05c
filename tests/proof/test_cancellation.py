"""Callers broken off at any await: no connection stays in a transaction, nothing is doubled."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from app.core.database import Database
from tests.proof.cancellation import ACCOUNTS, OPENING, prove
from tests.proof.crashes.load import Step, Work
from tests.proof.crashes.storm import _AWAITS, Storm, broken_off
from tests.proof.ground import Ground
from tests.support.accounts import Accounts

SEED = 20261126
STORMS = 25
SMALL_STORMS = 20


async def test_storms_of_cancellations_lose_nothing_and_double_nothing(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    verdict = await prove(ground, STORMS, SEED)
    record_property("figures", verdict.told())
    assert verdict.is_proven, verdict.told()
    # Some before, some after the commit; or the storm would prove nothing.
    assert 0 < verdict.figures["of them had happened"] < verdict.figures["broken off"]


async def test_it_goes_red_where_a_retry_is_answered_otherwise_and_where_little_is_met(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Storm._ask

    async def ask_anew(self: Storm, work: Work, step: Step) -> dict[str, Any]:
        if step.name in {"reserve", "deduct"}:
            work = replace(work, key=f"{work.key}-{self._chance.random()}")
        return await ask(self, work, step)

    monkeypatch.setattr(Storm, "_ask", ask_anew)
    monkeypatch.setattr("tests.proof.crashes.storm._AWAITS", dict.fromkeys(_AWAITS, 1))
    verdict = await prove(ground, 1, SEED)
    found = {zero.what for zero in verdict.zeros if zero.found}
    assert {"happened twice", "answered otherwise when asked again"} <= found, verdict.told()
    assert "places where nobody was broken off" in found


async def _left_begun(database: Database, accounts: Accounts) -> int:
    """Return how many connections small storms leave in a transaction.

    Small ones, on new connections: in a large one the next caller ends what was left begun.
    """
    begun = 0
    for seed in range(SMALL_STORMS):
        await database._pool.expire_connections()
        opened = [await accounts.open(OPENING) for _ in range(ACCOUNTS)]
        verdict = await Storm(database, seed).blow(opened, OPENING, 15)
        begun += sum(zero.found for zero in verdict.zeros if zero.what == Storm.BEGUN)
        if begun:
            break
    return begun


async def test_no_connection_is_left_in_a_transaction(
    database: Database, accounts: Accounts
) -> None:
    assert await _left_begun(database, accounts) == 0


async def test_a_pool_that_forgets_what_was_broken_off_is_seen(
    database: Database, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As before connections noted it: a statement prepared and not executed stays begun.
    monkeypatch.setattr("app.core.database._PooledConnection.break_off", lambda _connection: None)
    assert await _left_begun(database, accounts) > 0


async def _awaited(work: Coroutine[Any, Any, str], at: int) -> object:
    return await broken_off(work, at)


async def test_it_is_broken_off_at_the_await_that_was_told() -> None:
    passed: list[int] = []

    async def walk() -> str:
        for place in range(3):
            passed.append(place)
            await asyncio.sleep(0)
        return "arrived"

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(_awaited(walk(), 2))
    assert passed == [0, 1]
    assert await _awaited(walk(), 4) == "arrived"
