"""Why a call cost what it did."""

from uuid import uuid4

import pytest

from app.core.refusals import Refusal
from app.credits import Credits
from app.inference import GiveBackRequest
from tests.support.accounts import CREDIT
from tests.support.catalogs import MODEL
from tests.support.model_calls import DEAR, NOW, Calling, used


async def test_what_was_used_drawn_and_rounded_is_told(calling: Calling) -> None:
    opened = await calling.open(
        trace_id="t-1", end_customer_ref="eve", related_type="form", related_id="f-1"
    )
    await calling.later(seconds=3)
    request = used(
        opened.reservation_id, 900, 20, cached_input_tokens=7, status_code=200, latency_ms=2_900
    )
    closed = await calling.calls.close(calling.account, request)
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    # (893 x 1 + 7 x 0.1 + 20 x 4) dollars' thousandths, up to the next quarter of a credit.
    assert (told.cost_nanodollars, told.exact_amount) == (973_700_000, 973_700_000)
    assert (told.charged_amount, closed.settled_amount) == (973_750_000, 973_750_000)
    assert (told.increment, told.minimum_charge, told.nanodollars_per_credit) == (
        250_000,
        250_000,
        1_000_000,
    )
    assert (told.model, told.price_version, told.credits_per_1k_tokens) == ("small", 1, None)
    assert (told.input_nanodollars, told.output_nanodollars) == (
        DEAR.input_nanodollars,
        DEAR.output_nanodollars,
    )
    assert (told.input_tokens, told.cached_input_tokens, told.output_tokens) == (900, 7, 20)
    assert (told.prompt_tokens, told.usage_estimated) == (1_000, False)
    assert told.reserved_amount == 1_400 * CREDIT
    assert (told.overage, told.refunded_amount) == (0, 0)
    [draw] = told.draws
    assert (draw["amount"], draw["source"]) == (973_750_000, "top_up")
    assert (told.plan_key, told.plan_version, told.feature, told.quality) == (
        "basic",
        1,
        "summary",
        "fast",
    )
    assert told.multiplier_basis_points == 10_000
    assert (told.state, told.outcome, told.attempt, told.attempts) == (
        "settled",
        "complete",
        1,
        [],
    )
    assert (told.trace_id, told.end_customer_ref, told.related_type, told.related_id) == (
        "t-1",
        "eve",
        "form",
        "f-1",
    )
    assert (told.status_code, told.latency_ms, told.error) == (200, 2_900, None)
    assert told.opened_at == NOW
    ledger = await calling.admin.fetchval(
        "select amount from credits.transactions where account_id = $1 and version = $2",
        calling.account,
        told.version,
    )
    assert ledger == -973_750_000


async def test_a_rate_is_told_instead_of_a_price(calling: Calling) -> None:
    opened = await calling.open(model="other")
    await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 1))
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.cost_nanodollars, told.credits_per_1k_tokens) == (None, 2 * CREDIT)
    assert (told.exact_amount, told.charged_amount) == (2_002_000, 2_250_000)


async def test_who_failed_before_is_told(calling: Calling) -> None:
    opened = await calling.open()
    await calling.calls.fall_back(
        calling.account,
        opened.reservation_id,
        attempt=1,
        model="other",
        error="overloaded",
        status_code=503,
    )
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.state, told.model, told.attempt) == ("open", "other", 2)
    assert (told.charged_amount, told.version, told.draws) == (None, None, [])
    [attempt] = told.attempts
    assert (attempt["model"], attempt["error"], attempt["status_code"]) == (
        "small",
        "overloaded",
        503,
    )


async def test_nothing_charged_is_told_as_that(calling: Calling) -> None:
    opened = await calling.open()
    await calling.calls.give_back(
        calling.account, GiveBackRequest(opened.reservation_id, "broken: said nothing", 502, 12)
    )
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.state, told.error, told.status_code) == ("released", "broken: said nothing", 502)
    assert (told.charged_amount, told.exact_amount) == (None, None)


async def test_what_no_grant_pays_is_told_as_owed(calling: Calling) -> None:
    calling.account = await calling.accounts.open(1_400, project_id=calling.project)
    opened = await calling.open()
    await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 200))
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.charged_amount, told.overage) == (1_800 * CREDIT, 400 * CREDIT)


async def test_what_was_given_back_since_is_told(calling: Calling, credits: Credits) -> None:
    opened = await calling.open()
    await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 0))
    await credits.refund(
        calling.account, "r", reservation_id=opened.reservation_id, amount=300 * CREDIT
    )
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.charged_amount, told.refunded_amount) == (1_000 * CREDIT, 300 * CREDIT)


async def test_rules_that_have_changed_since_are_not_told(
    calling: Calling, credits: Credits
) -> None:
    opened = await calling.open()
    await calling.calls.close(calling.account, used(opened.reservation_id, 1_000, 0))
    await credits.set_policy(calling.project, increment=700_000, minimum_charge=0)
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert (told.exact_amount, told.increment, told.nanodollars_per_credit) == (None, None, None)
    assert told.charged_amount == 1_000 * CREDIT
    # The price is told by its version, whatever is sold by now.
    await calling.catalog.upsert_model(
        calling.project, MODEL._replace(max_output_tokens=5_000), DEAR._replace(source="new")
    )
    told = await calling.calls.read_charge(calling.account, opened.reservation_id)
    assert told.price_version == 1


async def test_there_is_none_or_not_here(calling: Calling) -> None:
    opened = await calling.open()
    elsewhere = await calling.accounts.open(10, project_id=calling.project)
    for account, call in ((calling.account, uuid4()), (elsewhere, opened.reservation_id)):
        with pytest.raises(Refusal) as refused:
            await calling.calls.read_charge(account, call)
        assert (refused.value.code, refused.value.facts) == (
            "NOT_FOUND",
            {"kind": "charge", "id": str(call)},
        )
