"""inference.open: a call begins if it may, and as much is reserved as it can cost."""

from typing import Any

import pytest

from app.catalog.edits import PlanFeatureTerms, PlanLevelTerms, QualityTerms
from app.core.refusals import Refusal
from tests.support.accounts import CREDIT
from tests.support.catalogs import FEATURE, LEVEL, MODEL, OTHER, PLAN
from tests.support.model_calls import DEAR, NOW, Calling, digest, used
from tests.support.refusals import refused_whole


async def test_what_a_call_can_cost_is_reserved(calling: Calling) -> None:
    opened = await calling.open()
    # 1,000 read at a dollar for a thousand, 100 written at four: 1.4 dollars, a thousandth of
    # which is a credit.
    assert opened.amount == 1_400 * CREDIT
    assert (opened.model, opened.provider, opened.price_version) == ("small", "openai", 1)
    assert (opened.quality, opened.fallbacks) == ("fast", ["other"])
    assert (opened.output_limit, opened.reserved_tokens) == (100, 100)
    assert opened.state == "open"
    assert opened.balance is not None
    assert opened.balance.reserved == 1_400 * CREDIT
    kept = await calling.state(opened.reservation_id)
    assert (kept["plan_key"], kept["plan_version"], kept["opened_at"]) == ("basic", 1, NOW)


async def test_a_rate_for_a_thousand_tokens_wins_over_cost(calling: Calling) -> None:
    opened = await calling.open(model="other")
    # 1,100 tokens at two credits for a thousand, in steps of a quarter.
    assert opened.amount == 2_250_000
    assert opened.model == "other"
    assert opened.fallbacks == ["small"]


async def test_no_more_is_reserved_than_the_model_can_write(calling: Calling) -> None:
    opened = await calling.open(output_tokens=1_000_000)
    assert opened.output_limit == 5_000
    assert opened.amount == (1_000 + 4 * 5_000) * CREDIT
    unbounded = await calling.open("b", output_tokens=None)
    assert unbounded.amount == opened.amount


async def test_each_choice_is_reserved_for(calling: Calling) -> None:
    opened = await calling.open(choices=3)
    assert (opened.output_limit, opened.amount) == (300, 2_200 * CREDIT)
    most = await calling.open("b", output_tokens=1_000_000, choices=2)
    assert most.output_limit == 10_000


async def test_of_a_stream_the_first_tokens_are_reserved(calling: Calling) -> None:
    opened = await calling.open(output_tokens=None, first_tokens=10)
    assert opened.amount == 1_040 * CREDIT
    assert (opened.output_limit, opened.reserved_tokens) == (5_000, 10)
    assert (await calling.state(opened.reservation_id))["is_stream"] is True


async def test_a_model_that_costs_nothing_is_called_all_the_same(calling: Calling) -> None:
    free = DEAR._replace(
        input_nanodollars=0, cached_input_nanodollars=0, output_nanodollars=0, source="gift"
    )
    await calling.catalog.upsert_model(calling.project, MODEL, free)
    opened = await calling.open()
    assert (opened.amount, opened.price_version) == (1, 2)
    closed = await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 100))
    assert closed.settled_amount == 0


async def test_the_same_request_again_is_the_same_call(calling: Calling) -> None:
    first = await calling.open()
    again = await calling.open()
    assert (again.reservation_id, again.amount, again.replayed) == (
        first.reservation_id,
        first.amount,
        True,
    )
    async with refused_whole(calling.stands, "DUPLICATE_REQUEST", {"idempotencyKey": "a"}):
        await calling.open(fingerprint=digest("another"))
    await calling.calls.close(calling.account, used(first.reservation_id, 1, 1))
    assert (await calling.open()).state == "settled"


async def test_a_key_that_reserved_something_else_is_no_call(calling: Calling) -> None:
    await calling.admin.execute(
        "select credits.reserve($1, array[row('a', 1400000000, 300, 'summary', 'fast', 'small',"
        " '1', null, null, null, null, null, null)::credits.reserve_request])",
        calling.account,
    )
    async with refused_whole(calling.stands, "DUPLICATE_REQUEST", {"idempotencyKey": "a"}):
        await calling.open()


async def test_a_set_is_decided_in_turn(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_minute=2))
    answers = await calling.calls.open_set(
        calling.account,
        [
            calling.request("a"),
            calling.request("", output_tokens=1),
            calling.request("b", output_tokens=10_000_000),
            calling.request("c", feature="poetry"),
            calling.request("a"),
            calling.request("d"),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        "OK",
        "VALIDATION_ERROR",
        "OK",
        "FEATURE_DENIED",
        "OK",
        "RATE_LIMITED",
    ]
    assert [answer.replayed for answer in answers] == [False, False, False, False, True, False]
    assert [answer.balance is None for answer in answers] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"idempotency_key": "k" * 256}, "idempotencyKey"),
        ({"fingerprint": b"short"}, "fingerprint"),
        ({"prompt_tokens": -1}, "promptTokens"),
        ({"output_tokens": 100_000_001}, "outputTokens"),
        ({"choices": 0}, "n"),
        ({"choices": 129}, "n"),
        ({"first_tokens": 0}, "firstTokens"),
        ({"ttl_seconds": 0}, "ttlSeconds"),
    ],
)
async def test_what_cannot_be_asked(calling: Calling, change: dict[str, Any], field: str) -> None:
    before = await calling.stands()
    with pytest.raises(Refusal) as refusal:
        await calling.open(**change)
    assert (refusal.value.code, refusal.value.facts["field"]) == ("VALIDATION_ERROR", field)
    assert await calling.stands() == before


async def test_without_credits_no_call_begins(calling: Calling) -> None:
    poor = calling.account = await calling.accounts.open(1_399, project_id=calling.project)
    facts = {
        "required": 1_400 * CREDIT,
        "spendable": 1_399 * CREDIT,
        "shortfall": CREDIT,
    }
    async with refused_whole(calling.stands, "INSUFFICIENT_CREDITS", facts):
        await calling.open()
    assert poor == calling.account


# Why not, in the order in which it is told.


async def denied(calling: Calling, reason: str, **change: Any) -> None:
    """Prove that a call is refused for that reason, and nothing moves."""
    plan = None if reason == "plan_not_active" else "basic"
    asked = calling.request("denied", **change)
    facts = {"reason": reason, "feature": asked.feature, "plan": plan}
    async with refused_whole(calling.stands, "FEATURE_DENIED", facts):
        await calling.calls.open(calling.account, asked)


async def test_a_feature_must_be_one_of_the_project(calling: Calling) -> None:
    await denied(calling, "feature_not_found", feature="poetry")
    await calling.catalog.upsert_feature(
        calling.project, FEATURE._replace(key="seats", kind="limit", base_estimate=None)
    )
    await denied(calling, "feature_not_found", feature="seats")


async def test_a_feature_must_be_active(calling: Calling) -> None:
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(is_active=False))
    await denied(calling, "feature_disabled")


async def test_there_must_be_a_plan(calling: Calling) -> None:
    await calling.catalog.set_default_plan(calling.project, None)
    await denied(calling, "plan_not_active")


async def test_the_plan_must_have_the_feature(calling: Calling) -> None:
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="poetry"))
    await denied(calling, "not_in_plan", feature="poetry")


async def test_the_plan_must_not_switch_it_off(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", is_enabled=False))
    await denied(calling, "plan_feature_disabled")


async def test_the_level_must_be_open(calling: Calling) -> None:
    await denied(calling, "quality_not_allowed", quality="best")
    await calling.catalog.upsert_quality_level(calling.project, LEVEL._replace(is_active=False))
    await denied(calling, "quality_not_allowed", quality="fast")


async def test_the_model_must_be_one_of_the_level(calling: Calling) -> None:
    await calling.catalog.upsert_model(calling.project, OTHER._replace(key="third"), DEAR)
    await denied(calling, "model_not_allowed", model="third")
    await calling.catalog.upsert_model(calling.project, MODEL._replace(is_available=False), DEAR)
    await denied(calling, "model_not_allowed", model="small")
    assert (await calling.open()).model == "other"


async def test_what_has_no_price_is_not_called(calling: Calling) -> None:
    await calling.catalog.upsert_model(calling.project, OTHER._replace(key="third"))
    await calling.sell(PlanFeatureTerms("summary"), [PlanLevelTerms("summary", "fast", ["third"])])
    await denied(calling, "model_not_allowed")


async def test_what_a_model_was_replaced_by_answers_for_it(calling: Calling) -> None:
    gone = MODEL._replace(is_available=False, replacement_key="other")
    await calling.catalog.upsert_model(calling.project, gone, DEAR)
    opened = await calling.open(model="small")
    assert (opened.model, opened.fallbacks) == ("other", [])


async def test_a_feature_open_to_any_model_takes_any_that_has_a_price(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", any_model=True), [])
    assert (await calling.open(model="small")).fallbacks == []
    assert (await calling.open("b")).quality is None
    await denied(calling, "model_not_allowed", model="gpt-unheard-of")
    await denied(calling, "quality_not_allowed", quality="fast")


async def test_the_lowest_level_that_has_the_model_is_taken(calling: Calling) -> None:
    await calling.catalog.upsert_quality_level(
        calling.project, QualityTerms("best", "Best", 2, 30_000)
    )
    levels = [
        PlanLevelTerms("summary", "best", ["small", "other"]),
        PlanLevelTerms("summary", "fast", ["other"]),
    ]
    await calling.sell(PlanFeatureTerms("summary"), levels)
    assert (await calling.open()).quality == "fast"
    opened = await calling.open("b", model="small")
    assert (opened.quality, opened.fallbacks) == ("best", ["other"])
    assert (await calling.open("c", model="other", quality="best")).quality == "best"


async def test_what_a_plan_includes_of_another_is_open_too(calling: Calling) -> None:
    more = PLAN._replace(key="more", includes_plan_key="basic")
    await calling.catalog.upsert_plan(calling.project, more, [], [])
    await calling.catalog.set_default_plan(calling.project, "more")
    opened = await calling.open()
    assert opened.model == "small"
    assert (await calling.state(opened.reservation_id))["plan_key"] == "more"
