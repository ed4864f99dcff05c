"""What becomes of calls: more for a stream, the charge, nothing, another model, nobody at work."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.refusals import Refusal
from app.inference import ExtendRequest, GiveBackRequest
from tests.support.accounts import CREDIT
from tests.support.catalogs import MODEL
from tests.support.model_calls import DEAR, NOW, Calling, used
from tests.support.refusals import refused_whole


async def test_what_was_used_is_charged(calling: Calling) -> None:
    opened = await calling.open()
    await calling.later(seconds=3)
    closed = await calling.calls.close(
        calling.account,
        used(opened.reservation_id, 900, 20, status_code=200, latency_ms=2_900, occurred_at=NOW),
    )
    # 0.9 dollars read and 0.08 written.
    assert closed.settled_amount == 980 * CREDIT
    assert closed.balance is not None
    assert closed.balance.reserved == 0
    kept = await calling.state(opened.reservation_id)
    assert (kept["state"], kept["outcome"], kept["closed_at"]) == (
        "settled",
        "complete",
        NOW + timedelta(seconds=3),
    )
    record = await calling.admin.fetchrow("select * from usage.records")
    assert record is not None
    assert (record["input_tokens"], record["output_tokens"], record["credits"]) == (
        900,
        20,
        980 * CREDIT,
    )
    assert (record["cost_nanodollars"], record["model"], record["price_version"]) == (
        980_000_000,
        "small",
        "1",
    )


async def test_what_was_read_from_a_cache_costs_less(calling: Calling) -> None:
    opened = await calling.open()
    closed = await calling.calls.close(
        calling.account, used(opened.reservation_id, 1_000, 0, cached_input_tokens=500)
    )
    assert closed.settled_amount == (500 + 50) * CREDIT


async def test_a_rate_for_tokens_is_charged_for_all_of_them(calling: Calling) -> None:
    opened = await calling.open(model="other")
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 1))
    # 2.002 credits, up to the next quarter.
    assert closed.settled_amount == 2_250_000
    other = await calling.open("b", model="other")
    closed = await calling.calls.close(calling.account, used(other.reservation_id, 1, 0))
    assert closed.settled_amount == 250_000
    none = await calling.open("c", model="other")
    closed = await calling.calls.close(calling.account, used(none.reservation_id, 0, 0))
    assert closed.settled_amount == 0


async def test_a_part_of_a_nanodollar_is_not_free(calling: Calling) -> None:
    cheap = DEAR._replace(
        input_nanodollars=1, cached_input_nanodollars=1, output_nanodollars=1, source="a gift"
    )
    await calling.catalog.upsert_model(calling.project, MODEL, cheap)
    opened = await calling.open(model="small")
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 1, 0))
    assert closed.settled_amount == 250_000
    assert await calling.admin.fetchval("select cost_nanodollars from usage.records") == 1


async def test_what_was_said_first_of_a_call_stands(calling: Calling) -> None:
    """Another usage that comes to the same charge is an answer said again, not a better one."""
    opened = await calling.open(model="other")
    for tokens, replayed in ((100, False), (1, True)):
        closed = await calling.calls.close(
            calling.account, used(opened.reservation_id, tokens, 0, latency_ms=tokens)
        )
        assert (closed.settled_amount, closed.replayed) == (250_000, replayed)
    kept = await calling.state(opened.reservation_id)
    assert (kept["input_tokens"], kept["latency_ms"]) == (100, 100)


async def test_the_price_is_that_of_when_it_was_asked(calling: Calling) -> None:
    opened = await calling.open()
    dearer = DEAR._replace(output_nanodollars=40_000_000_000_000, source="a rise")
    await calling.catalog.upsert_model(calling.project, MODEL, dearer)
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 0, 100))
    assert closed.settled_amount == 400 * CREDIT
    assert (await calling.open("b")).price_version == 2


async def test_more_than_was_reserved_is_charged_too(calling: Calling) -> None:
    opened = await calling.open()
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 200))
    assert closed.settled_amount == 1_800 * CREDIT


async def test_the_same_usage_again_answers_the_first_charge(calling: Calling) -> None:
    opened = await calling.open()
    first = await calling.calls.close(calling.account, used(opened.reservation_id, 100, 10))
    again = await calling.calls.close(calling.account, used(opened.reservation_id, 100, 10))
    assert (again.replayed, again.settled_amount) == (True, first.settled_amount)
    facts = {"reservationId": str(opened.reservation_id), "settledAmount": first.settled_amount}
    async with refused_whole(calling.stands, "RESERVATION_SETTLED", facts):
        await calling.calls.close(calling.account, used(opened.reservation_id, 100, 11))


async def test_absurd_usage_is_not_charged(calling: Calling) -> None:
    opened = await calling.open()
    before = await calling.stands()
    with pytest.raises(Refusal) as refusal:
        await calling.calls.close(calling.account, used(opened.reservation_id, 10**18, 10**18))
    assert refusal.value.code == "SETTLE_AMOUNT_IMPLAUSIBLE"
    assert (await calling.stands())[0] == before[0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input_tokens": -1}, "inputTokens"),
        ({"output_tokens": -1}, "outputTokens"),
        ({"cached_input_tokens": 101}, "cachedInputTokens"),
        ({"cached_input_tokens": -1}, "cachedInputTokens"),
        ({"input_tokens": 10**18 + 1}, "tokens"),
        ({"output_tokens": 9 * 10**18}, "tokens"),
    ],
)
async def test_nonsense_is_not_charged(
    calling: Calling, change: dict[str, Any], field: str
) -> None:
    opened = await calling.open()
    before = await calling.stands()
    for ask in (calling.calls.close, calling.calls.note_answer):
        with pytest.raises(Refusal) as refusal:
            await ask(calling.account, used(opened.reservation_id, 100, 10, **change))
        assert (refusal.value.code, refusal.value.facts["field"]) == ("VALIDATION_ERROR", field)
    assert await calling.stands() == before


async def test_what_is_no_call_is_not_found(calling: Calling) -> None:
    opened = await calling.open()
    other = await calling.accounts.open(10, project_id=calling.project)
    plain = await calling.admin.fetchval(
        "select reservation_id from credits.reserve($1, array[row('p', 100, 300, null, null, null,"
        " null, null, null, null, null, null, null)::credits.reserve_request])",
        calling.account,
    )
    for account, call in (
        (calling.account, uuid4()),
        # Another organization's call, and a reservation that is none.
        (other, opened.reservation_id),
        (calling.account, plain),
    ):
        facts = {"reservationId": str(call)}
        async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
            await calling.calls.close(account, used(call, 0, 0))
        async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
            await calling.calls.extend(account, ExtendRequest(call, 10, 10, 300))
        async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
            await calling.calls.give_back(account, GiveBackRequest(call, "gone"))
        async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
            await calling.calls.note_answer(account, used(call, 0, 0))
        async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
            await calling.calls.fall_back(account, call, attempt=1, model="other", error="gone")


async def test_what_no_model_answered_costs_nothing(calling: Calling) -> None:
    opened = await calling.open()
    back = await calling.calls.give_back(
        calling.account, GiveBackRequest(opened.reservation_id, "connection refused", 502, 17)
    )
    assert back.status == "released"
    assert back.balance is not None
    assert back.balance.available == 100_000 * CREDIT
    kept = await calling.state(opened.reservation_id)
    assert (kept["state"], kept["outcome"], kept["error"], kept["status_code"]) == (
        "released",
        "failed",
        "connection refused",
        502,
    )
    again = await calling.calls.give_back(
        calling.account, GiveBackRequest(opened.reservation_id, "again")
    )
    assert again.replayed
    assert (await calling.state(opened.reservation_id))["error"] == "connection refused"


# Streams.


async def test_a_stream_reserves_more_as_it_goes_on(calling: Calling) -> None:
    opened = await calling.open(output_tokens=None, first_tokens=10)
    await calling.later(seconds=100)
    more = await calling.calls.extend(
        calling.account, ExtendRequest(opened.reservation_id, 50, 9, 300)
    )
    assert more.amount == 1_200 * CREDIT
    assert more.expires_at == NOW + timedelta(seconds=400)
    kept = await calling.state(opened.reservation_id)
    assert (kept["reserved_tokens"], kept["noted_tokens"], kept["leased_until"]) == (
        50,
        9,
        NOW + timedelta(seconds=400),
    )
    # Only for longer.
    same = await calling.calls.extend(
        calling.account, ExtendRequest(opened.reservation_id, None, 12, 900)
    )
    assert same.amount == more.amount
    assert (await calling.state(opened.reservation_id))["noted_tokens"] == 12
    # What was overtaken takes nothing back.
    await calling.calls.extend(calling.account, ExtendRequest(opened.reservation_id, 20, 5, 1))
    kept = await calling.state(opened.reservation_id)
    assert (kept["reserved_tokens"], kept["noted_tokens"]) == (50, 12)


async def test_no_more_is_held_than_the_model_can_write(calling: Calling) -> None:
    opened = await calling.open(output_tokens=20, first_tokens=10)
    more = await calling.calls.extend(
        calling.account, ExtendRequest(opened.reservation_id, 1_000, 10, 300)
    )
    assert more.amount == 1_080 * CREDIT


async def test_a_stream_without_credits_for_more_is_told_so(calling: Calling) -> None:
    calling.account = await calling.accounts.open(1_100, project_id=calling.project)
    opened = await calling.open(output_tokens=None, first_tokens=10)
    with pytest.raises(Refusal) as refusal:
        await calling.calls.extend(
            calling.account, ExtendRequest(opened.reservation_id, 26, 10, 300)
        )
    assert (refusal.value.code, refusal.value.facts) == (
        "INSUFFICIENT_CREDITS",
        {"required": 64 * CREDIT, "spendable": 60 * CREDIT, "shortfall": 4 * CREDIT},
    )
    kept = await calling.state(opened.reservation_id)
    assert (kept["reserved_tokens"], kept["noted_tokens"]) == (10, 10)
    await calling.calls.extend(calling.account, ExtendRequest(opened.reservation_id, 25, 10, 300))


# Another model.


async def test_another_model_takes_over(calling: Calling) -> None:
    opened = await calling.open()
    await calling.later(seconds=1)
    row = await calling.calls.fall_back(
        calling.account,
        opened.reservation_id,
        attempt=1,
        model="other",
        error="timeout",
        status_code=504,
    )
    # Cheaper: what is reserved stays.
    assert (row.attempt, row.model, row.price_version, row.amount) == (
        2,
        "other",
        None,
        opened.amount,
    )
    [attempt] = await calling.admin.fetch("select * from inference.attempts")
    assert (attempt["attempt"], attempt["model"], attempt["error"], attempt["status_code"]) == (
        1,
        "small",
        "timeout",
        504,
    )
    assert (attempt["asked_at"], attempt["failed_at"]) == (NOW, NOW + timedelta(seconds=1))
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 100))
    assert closed.settled_amount == 2_250_000


async def test_another_model_writes_as_many_choices(calling: Calling) -> None:
    opened = await calling.open(choices=3)
    row = await calling.calls.fall_back(
        calling.account, opened.reservation_id, attempt=1, model="other", error="timeout"
    )
    assert row.output_limit == 300


async def test_a_dearer_model_takes_over_if_there_are_credits(calling: Calling) -> None:
    calling.account = await calling.accounts.open(1_400, project_id=calling.project)
    opened = await calling.open(model="other")
    row = await calling.calls.fall_back(
        calling.account, opened.reservation_id, attempt=1, model="small", error="timeout"
    )
    assert row.amount == 1_400 * CREDIT
    await calling.calls.give_back(calling.account, GiveBackRequest(opened.reservation_id, "no"))
    short = await calling.open("b", model="other", prompt_tokens=1_001)
    facts = {"required": 1_398_750_000, "spendable": 1_397_750_000, "shortfall": CREDIT}
    async with refused_whole(calling.stands, "INSUFFICIENT_CREDITS", facts):
        await calling.calls.fall_back(
            calling.account, short.reservation_id, attempt=1, model="small", error="timeout"
        )


async def test_two_do_not_fall_back_from_one_attempt(calling: Calling) -> None:
    opened = await calling.open()
    await calling.calls.fall_back(
        calling.account, opened.reservation_id, attempt=1, model="other", error="timeout"
    )
    facts = {"reservationId": str(opened.reservation_id)}
    async with refused_whole(calling.stands, "RESERVATION_NOT_FOUND", facts):
        await calling.calls.fall_back(
            calling.account, opened.reservation_id, attempt=1, model="small", error="timeout"
        )


# Nobody at work.


async def test_calls_that_nobody_works_on_are_found_and_charged_by_what_is_known(
    calling: Calling,
) -> None:
    whole = await calling.open("whole")
    stream = await calling.open("stream", first_tokens=10, ttl_seconds=301)
    await calling.calls.extend(calling.account, ExtendRequest(stream.reservation_id, 20, 12, 302))
    answered = await calling.open("answered", ttl_seconds=303)
    await calling.calls.note_answer(
        calling.account, used(answered.reservation_id, 800, 7, outcome="length")
    )
    # The first stands.
    await calling.calls.note_answer(calling.account, used(answered.reservation_id, 1, 1))
    at_work = await calling.open("at work", ttl_seconds=400)
    assert await calling.calls.find_abandoned(10) == []
    await calling.later(seconds=303)
    due = await calling.calls.find_abandoned(10)
    assert [(call.call_id, call.state) for call in due] == [
        (whole.reservation_id, "open"),
        (stream.reservation_id, "open"),
        (answered.reservation_id, "answered"),
    ]
    assert [(call.input_tokens, call.output_tokens, call.usage_estimated) for call in due] == [
        (1_000, 0, True),
        (1_000, 12, True),
        (800, 7, False),
    ]
    assert [call.outcome for call in due] == ["abandoned", "abandoned", "length"]
    assert len(await calling.calls.find_abandoned(1)) == 1
    for call in due:
        await calling.calls.close(call.account_id, call.request)
    assert await calling.calls.find_abandoned(10) == []
    assert (await calling.state(stream.reservation_id))["usage_estimated"] is True
    assert (await calling.state(at_work.reservation_id))["state"] == "open"
    charged = await calling.admin.fetchval("select sum(credits)::bigint from usage.records")
    assert charged == (1_000 + 1_048 + 828) * CREDIT


async def test_a_reservation_that_was_ended_otherwise_ends_its_call(calling: Calling) -> None:
    settled = await calling.open("a")
    released = await calling.open("b")
    await calling.admin.execute(
        "select credits.settle($1, array[row($2, 5000000, null, null, null, null, null, null, null,"
        " null, null, null, null, null)::credits.settle_request])",
        calling.account,
        settled.reservation_id,
    )
    await calling.admin.execute(
        "select credits.release($1, array[row($2, 'by hand')::credits.release_request])",
        calling.account,
        released.reservation_id,
    )
    await calling.later(seconds=300)
    due = await calling.calls.find_abandoned(10)
    answers = await calling.calls.close_set(calling.account, [call.request for call in due])
    assert [answer.outcome for answer in answers] == [
        "RESERVATION_SETTLED",
        "RESERVATION_RELEASED",
    ]
    assert await calling.calls.find_abandoned(10) == []
    for call, state in ((settled, "settled"), (released, "released")):
        kept = await calling.state(call.reservation_id)
        assert (kept["state"], kept["outcome"]) == (state, "abandoned")


async def test_who_comes_back_after_that_finds_the_charge_that_won(calling: Calling) -> None:
    opened = await calling.open()
    await calling.later(seconds=300)
    [due] = await calling.calls.find_abandoned(10)
    await calling.calls.close(calling.account, due.request)
    with pytest.raises(Refusal, match="RESERVATION_SETTLED"):
        await calling.calls.close(calling.account, used(opened.reservation_id, 900, 90))
    with pytest.raises(Refusal, match="RESERVATION_NOT_FOUND"):
        await calling.calls.note_answer(calling.account, used(opened.reservation_id, 900, 90))
    with pytest.raises(Refusal, match="RESERVATION_SETTLED"):
        await calling.calls.give_back(calling.account, GiveBackRequest(opened.reservation_id, "x"))
