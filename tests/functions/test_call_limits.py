"""How many calls may begin within which time: sliding, and those under way count."""

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.catalog.edits import PlanFeatureTerms
from app.core.refusals import Refusal
from app.inference import GiveBackRequest
from tests.support.catalogs import FEATURE, PLAN
from tests.support.model_calls import NOW, Calling, used
from tests.support.refusals import refused_whole


async def limited(
    calling: Calling, limit: str, most: int, resets_at: object, **change: object
) -> None:
    """Prove that the next call is refused for a limit, and nothing moves."""
    written = resets_at.isoformat() if hasattr(resets_at, "isoformat") else resets_at
    facts = {"limit": limit, "most": most, "resetsAt": written}
    async with refused_whole(calling.stands, "RATE_LIMITED", facts):
        await calling.calls.open(calling.account, calling.request("more", **change))


@pytest.mark.parametrize(
    ("limit", "span"),
    [
        ("per_minute", timedelta(minutes=1)),
        ("per_hour", timedelta(hours=1)),
        ("per_day", timedelta(days=1)),
    ],
)
async def test_a_window_slides(calling: Calling, limit: str, span: timedelta) -> None:
    most: dict[str, Any] = {limit: 2}
    await calling.sell(PlanFeatureTerms("summary")._replace(**most))
    await calling.open("a", output_tokens=1)
    await calling.clock.advance(span / 2)
    await calling.open("b", output_tokens=1)
    # What began first leaves the window first, whatever the hour or day.
    await limited(calling, limit, 2, NOW + span)
    await calling.clock.advance(span / 2 - timedelta(microseconds=1))
    await limited(calling, limit, 2, NOW + span)
    await calling.clock.advance(timedelta(microseconds=1))
    await calling.open("c", output_tokens=1)
    await limited(calling, limit, 2, NOW + span / 2 + span)


async def test_what_was_charged_counts_and_what_was_given_back_does_not(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_hour=2))
    first = await calling.open("a")
    await calling.calls.close(calling.account, used(first.reservation_id, 1, 1))
    second = await calling.open("b")
    await limited(calling, "per_hour", 2, NOW + timedelta(hours=1))
    await calling.calls.give_back(
        calling.account, GiveBackRequest(second.reservation_id, "provider is gone")
    )
    await calling.open("c")
    await limited(calling, "per_hour", 2, NOW + timedelta(hours=1))


async def test_a_limit_of_none_blocks(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_day=0))
    await limited(calling, "per_day", 0, None)


async def test_the_plan_counts_all_features_together(calling: Calling) -> None:
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="poetry"))
    await calling.catalog.upsert_plan(
        calling.project,
        PLAN._replace(requests_per_minute=2),
        [PlanFeatureTerms("summary", any_model=True), PlanFeatureTerms("poetry", any_model=True)],
        [],
    )
    await calling.open("a")
    await calling.open("b", feature="poetry")
    await limited(calling, "requests_per_minute", 2, NOW + timedelta(minutes=1))


async def test_other_organizations_and_features_have_their_own(calling: Calling) -> None:
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="poetry"))
    await calling.catalog.upsert_plan(
        calling.project,
        PLAN,
        [
            PlanFeatureTerms("summary", any_model=True, per_minute=1),
            PlanFeatureTerms("poetry", any_model=True, per_minute=1),
        ],
        [],
    )
    await calling.open("a")
    await calling.open("b", feature="poetry")
    calling.account = await calling.accounts.open(10_000, project_id=calling.project)
    await calling.open("a")
    await limited(calling, "per_minute", 1, NOW + timedelta(minutes=1))


async def test_each_end_customer_has_a_limit_for_each_thing(calling: Calling) -> None:
    await calling.sell(PlanFeatureTerms("summary", per_customer_day=2))
    mine = {"end_customer_ref": "eve", "related_id": "form-1", "output_tokens": 1}
    await calling.open("a", **mine)
    await calling.open("b", **mine)
    await limited(calling, "per_customer_day", 2, NOW + timedelta(days=1), **mine)
    # Of another form, by another customer, and by nobody in particular.
    await calling.open("c", **{**mine, "related_id": "form-2"})
    await calling.open("d", **{**mine, "related_id": None})
    await calling.open("e", **{**mine, "end_customer_ref": "bob"})
    await calling.open("f", output_tokens=1)


async def test_what_a_plan_says_now_counts_for_calls_of_before(calling: Calling) -> None:
    await calling.open("a")
    await calling.sell(PlanFeatureTerms("summary", per_day=1))
    await limited(calling, "per_day", 1, NOW + timedelta(days=1))
    await calling.sell(PlanFeatureTerms("summary"))
    await calling.open("b")


@pytest.mark.parametrize("seed", range(3))
async def test_by_chance_as_many_begin_as_a_count_says(calling: Calling, seed: int) -> None:
    """Two features, two limits, calls that are given back, and time: against a list of them."""
    chance = random.Random(seed)
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    await calling.catalog.upsert_feature(calling.project, FEATURE._replace(key="other"))
    opened = [PlanFeatureTerms(key, any_model=True, per_hour=4) for key in ("summary", "other")]
    await calling.catalog.upsert_plan(
        calling.project, PLAN._replace(requests_per_minute=3), opened, []
    )
    counted: dict[UUID, tuple[str, datetime]] = {}
    now, refused = NOW, 0
    for number in range(60):
        span = chance.choice([0.0, 0.0, 7.0, 31.0, 400.0])
        await calling.later(seconds=span)
        now += timedelta(seconds=span)
        feature = chance.choice(["summary", "other"])
        began = [each for each in counted.values() if each[1] > now - minute]
        same = [each for each in counted.values() if each[0] == feature and each[1] > now - hour]
        may = len(began) < 3 and len(same) < 4
        request = calling.request(f"{number}", feature=feature, model="small", output_tokens=1)
        if not may:
            with pytest.raises(Refusal, match="RATE_LIMITED"):
                await calling.calls.open(calling.account, request)
            refused += 1
            continue
        call = await calling.calls.open(calling.account, request)
        counted[call.reservation_id] = feature, now
        if chance.random() < 0.4:
            failed = GiveBackRequest(call.reservation_id, "provider is gone")
            await calling.calls.give_back(calling.account, failed)
            del counted[call.reservation_id]
    assert refused > 5
