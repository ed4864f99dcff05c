"""20,000 calls of many callers at once fit one order; a history that was forged does not."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.rows import Checked, Deducted
from db.driver import Connection
from tests.proof.ground import Ground
from tests.proof.history.callers import Callers
from tests.proof.history.check import Told, check
from tests.proof.history.run import CALLS, prove
from tests.proof.model.account import Account
from tests.proof.model.shapes import CREDIT

SEED = 11


@pytest.mark.timeout(300)
async def test_what_many_callers_are_told_fits_one_order(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    verdict = await prove(ground, CALLS, SEED)
    record_property("figures", verdict.told())
    assert verdict.is_proven, verdict.told()


async def test_it_goes_red_where_nobody_asks_at_once_or_little_is_met(ground: Ground) -> None:
    verdict = await prove(ground, 64, SEED)
    found = {zero.what: zero.found for zero in verdict.zeros}
    assert found["outcomes never met"] > 0
    assert found["answers that fit no order, or not that of time"] == 0
    assert not verdict.is_proven


async def test_it_goes_red_on_a_function_that_forgets_its_version(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A charge whose answer tells the version of the one before it."""
    decide = Credits.deduct

    async def forget(self: Credits, *args: Any, **more: Any) -> Deducted:
        row = await decide(self, *args, **more)
        return replace(row, version=row.version - 1, version_before=row.version_before - 1)

    monkeypatch.setattr(Credits, "deduct", forget)
    verdict = await prove(ground, 500, SEED)
    assert verdict.zeros[0].found > 0, verdict.told()


# Histories that were forged.

Forge = Callable[[list[Told]], list[Told]]


def _deducted(calls: Sequence[Told]) -> list[int]:
    """Return the places of deductions that took credits of the first account."""
    return [
        place
        for place, call in enumerate(calls)
        if call.account_id == calls[0].account_id
        and isinstance(call.answer, Deducted)
        and not call.answer.replayed
    ]


def swap(calls: list[Told]) -> list[Told]:
    """Two callers get each other's answers."""
    one, *_, other = _deducted(calls)
    first, second = calls[one], calls[other]
    calls[one] = replace(first, answer=second.answer)
    calls[other] = replace(second, answer=first.answer)
    return calls


def read_stale(calls: list[Told]) -> list[Told]:
    """A balance is read that was no more when it was asked for."""
    seen = [
        (place, call)
        for place, call in enumerate(calls)
        if isinstance(call.answer, Checked) and call.account_id == calls[0].account_id
    ]
    (_, old), (place, late) = seen[0], seen[-1]
    required = old.answer.required
    calls[place] = replace(late, args=(required,), answer=old.answer)
    return calls


def lose(calls: list[Told]) -> list[Told]:
    """A charge was told of, and the one after it did not know."""
    one, other, *_ = _deducted(calls)
    told = calls[one].answer
    forgot = replace(calls[other].answer, version=told.version, version_before=told.version_before)
    calls[other] = replace(calls[other], answer=replace(forgot, balance=told.balance))
    return calls


def refuse(calls: list[Told]) -> list[Told]:
    """Who could spend is told that they cannot, at a moment when nobody else was asking."""
    rich = next(
        call
        for call in calls
        if call.name == "issue_grant"
        and call.args[0] == 40 * CREDIT
        and call.answer.balance.spendable > 0
    )
    poor = replace(
        rich,
        name="deduct",
        args=(1, "poor"),
        more={},
        started=rich.ended,
        ended=rich.ended,
        answer=Refusal("INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}),
    )
    return [*calls, poor]


def withhold(calls: list[Told]) -> list[Told]:
    """Something was charged that nobody was told of."""
    del calls[_deducted(calls)[1]]
    return calls


def lie(calls: list[Told]) -> list[Told]:
    """A balance is told that is a micro-credit too high."""
    place = _deducted(calls)[2]
    answer = calls[place].answer
    high = replace(answer.balance, available=answer.balance.available + 1)
    calls[place] = replace(calls[place], answer=replace(answer, balance=high))
    return calls


# By what each is found out; where it may show in two ways, either.
FORGED: dict[Forge, str | tuple[str, ...]] = {
    # The two may have asked the same: then it shows in nothing but when they did.
    swap: "told of before, but asked after",
    read_stale: "told of before, but asked after",
    # What was forgotten may have decided the next answer before its version is missed.
    lose: ("is not what it was decided at", "answer"),
    refuse: "fits no version",
    withhold: ("is not what it was decided at", "answer"),
    lie: "answer.balance.available: expected",
}


@pytest.mark.parametrize("forge", FORGED, ids=lambda forge: forge.__name__)
async def test_a_forged_history_is_found_out(
    database: Database, admin: Connection, forge: Forge
) -> None:
    callers = Callers(database, admin, SEED)
    await callers.play(1_200)
    calls = callers.recorder.calls
    fresh: list[Account] = copy.deepcopy(callers.accounts)
    assert check(calls, callers.accounts) == []
    wrongs = check(forge([*calls]), fresh)
    assert wrongs
    told = FORGED[forge]
    ways = (told,) if isinstance(told, str) else told
    assert any(way in wrong for wrong in wrongs for way in ways), wrongs
