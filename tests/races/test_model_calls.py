"""Calls of models at once: no limit is passed, no call is charged twice."""

import pytest

from app.catalog.edits import PlanFeatureTerms
from app.core.refusals import Refusal
from app.inference import GiveBackRequest, ModelCalls
from tests.support.model_calls import Calling, used
from tests.support.races import Race


async def test_the_last_call_of_a_limit_is_made_once(calling: Calling, race: Race) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_day=2))
    await calling.open("before", output_tokens=1)
    account = calling.account
    await race.hold(lambda on: ModelCalls(on).open(account, calling.request("a")))
    waiting = await race.queue(lambda on: ModelCalls(on).open(account, calling.request("b")))
    await race.commit()
    with pytest.raises(Refusal) as refusal:
        await waiting
    assert (refusal.value.code, refusal.value.facts["limit"]) == ("RATE_LIMITED", "per_day")
    assert await calling.admin.fetchval("select count(*) from inference.calls") == 2


async def test_a_call_that_did_not_begin_after_all_leaves_its_place(
    calling: Calling, race: Race
) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_day=1))
    account = calling.account
    await race.hold(lambda on: ModelCalls(on).open(account, calling.request("a")))
    waiting = await race.queue(lambda on: ModelCalls(on).open(account, calling.request("b")))
    await race.rollback()
    assert (await waiting).state == "open"


async def test_the_same_request_at_once_is_one_call(calling: Calling, race: Race) -> None:
    account = calling.account
    first = await race.hold(lambda on: ModelCalls(on).open(account, calling.request()))
    waiting = await race.queue(lambda on: ModelCalls(on).open(account, calling.request()))
    await race.commit()
    again = await waiting
    assert (again.reservation_id, again.replayed) == (first.reservation_id, True)
    assert await calling.admin.fetchval("select count(*) from inference.calls") == 1


async def test_of_two_that_end_a_call_the_first_counts(calling: Calling, race: Race) -> None:
    opened = await calling.open()
    account, call = calling.account, opened.reservation_id
    await race.hold(lambda on: ModelCalls(on).close(account, used(call, 900, 20)))
    waiting = await race.queue(
        lambda on: ModelCalls(on).give_back(account, GiveBackRequest(call, "gone"))
    )
    await race.commit()
    with pytest.raises(Refusal, match="RESERVATION_SETTLED"):
        await waiting
    kept = await calling.state(call)
    assert (kept["state"], kept["output_tokens"], kept["error"]) == ("settled", 20, None)


async def test_what_is_noted_while_it_is_charged_changes_nothing(
    calling: Calling, race: Race
) -> None:
    opened = await calling.open()
    account, call = calling.account, opened.reservation_id
    await race.hold(lambda on: ModelCalls(on).close(account, used(call, 900, 20)))
    waiting = await race.queue(lambda on: ModelCalls(on).note_answer(account, used(call, 1, 1)))
    await race.commit()
    with pytest.raises(Refusal, match="RESERVATION_NOT_FOUND"):
        await waiting
    kept = await calling.state(call)
    assert (kept["state"], kept["input_tokens"]) == ("settled", 900)


async def test_of_two_that_fall_back_one_does(calling: Calling, race: Race) -> None:
    opened = await calling.open()
    account, call = calling.account, opened.reservation_id
    await race.hold(
        lambda on: ModelCalls(on).fall_back(account, call, attempt=1, model="other", error="a")
    )
    waiting = await race.queue(
        lambda on: ModelCalls(on).fall_back(account, call, attempt=1, model="other", error="b")
    )
    await race.commit()
    with pytest.raises(Refusal, match="RESERVATION_NOT_FOUND"):
        await waiting
    assert await calling.admin.fetchval("select count(*) from inference.attempts") == 1
