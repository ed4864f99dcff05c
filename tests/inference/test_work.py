"""What must be done about a call in the end, whatever is in the way of it."""

from uuid import UUID

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.inference import ModelCalls
from app.inference.abandoned import charge_abandoned
from app.inference.lane import Failure, ProviderFailed
from app.inference.rows import CloseRequest, GiveBackRequest, Released, Settled
from app.inference.work import Call as CallUnderWay
from app.inference.work import Work
from tests.support.model_calls import Calling


class Busy(ModelCalls):
    """Nothing is given back for a while."""

    def __init__(self, database: Database, times: int) -> None:
        super().__init__(database)
        self.left = times

    async def give_back(self, account_id: UUID, request: GiveBackRequest) -> Released:
        if self.left:
            self.left -= 1
            raise Refusal("BUSY")
        return await super().give_back(account_id, request)


class Broken(ModelCalls):
    """Something is wrong with one call."""

    broken: UUID

    async def close(self, account_id: UUID, request: CloseRequest) -> Settled:
        if request.call_id == self.broken:
            raise ValueError("what no code of ours foresaw")
        return await super().close(account_id, request)


async def test_what_no_model_answered_is_given_back_however_long_that_takes(
    calling: Calling, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.work._PAUSES", (0.0,) * 8)
    opened = await calling.open()
    calls = Busy(database, times=7)
    work = Work(calls, lease_seconds=300)
    call = CallUnderWay(
        calling.account, opened.reservation_id, "small", "openai", "small-1", [], 100, 100, 1, 1
    )
    failed = ProviderFailed(Failure.BROKEN, "gone")
    assert await work.give_back(call, failed) is None
    assert calls.left == 3
    assert (await calling.state(call.id))["state"] == "open"
    await work.stop(5)
    assert calls.left == 0
    kept = await calling.state(call.id)
    assert (kept["state"], kept["error"]) == ("released", "broken: gone")


async def test_a_call_that_is_broken_holds_up_no_other(
    calling: Calling, database: Database
) -> None:
    first, second = await calling.open("a"), await calling.open("b")
    calls = Broken(database)
    calls.broken = first.reservation_id
    await calling.later(hours=1)
    assert await charge_abandoned(calls) == 1
    assert (await calling.state(first.reservation_id))["state"] == "open"
    assert (await calling.state(second.reservation_id))["state"] == "settled"


async def test_what_is_refused_hides_nothing_behind_it(
    calling: Calling, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.inference.abandoned._FOUND", 1)
    opened = {(await calling.open(key)).reservation_id for key in "abc"}
    await calling.later(hours=1)
    # Others may have been left by who came before.
    due = await calling.calls.find_abandoned(10)
    assert {call.call_id for call in due} >= opened
    calls = Broken(database)
    calls.broken = due[0].call_id
    assert await charge_abandoned(calls) == len(due) - 1
    left = await calling.calls.find_abandoned(10)
    assert [call.call_id for call in left] == [calls.broken]
