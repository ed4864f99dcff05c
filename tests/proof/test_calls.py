"""The proof of calls of models at the size of CI, and that it goes red on what is broken."""

from collections.abc import Callable

import pytest

from db.apply import FUNCTIONS
from tests.proof.calls.chances import chance
from tests.proof.calls.run import prove
from tests.proof.ground import Ground
from tests.proof.verdict import Verdict

SEED = 5


def function(name: str, here: str, there: str) -> str:
    """Return a function with something else in the place of a part of it."""
    text = (FUNCTIONS / "inference" / f"{name}.sql").read_text(encoding="utf-8")
    assert text.count(here) == 1
    return text.replace(here, there)


def found(verdict: Verdict) -> dict[str, int]:
    """Return the zeros that are none."""
    return {zero.what: zero.found for zero in verdict.zeros if zero.found}


@pytest.mark.timeout(300)
async def test_what_is_charged_is_what_providers_did(
    ground: Ground, record_property: Callable[[str, object], None]
) -> None:
    verdict = await prove(ground, 150, SEED, crowd=60, streams=20)
    record_property("figures", verdict.told())
    assert verdict.is_proven, verdict.told()


async def test_it_goes_red_on_a_price_that_forgets_the_cache(ground: Ground) -> None:
    broken = function(
        "_cost",
        "p_cached_input::numeric * p.cached_input_nanodollars",
        "p_cached_input::numeric * p.input_nanodollars",
    )
    verdict = await prove(ground, 60, SEED, crowd=0, streams=0, broken=broken)
    assert found(verdict).keys() == {"charged otherwise than the provider said"}, verdict.told()


async def test_it_goes_red_on_streams_that_run_on(ground: Ground) -> None:
    verdict = await prove(ground, 0, SEED, crowd=60, streams=0, stops=False)
    assert found(verdict).keys() == {"spent more than there was"}, verdict.told()


async def test_it_goes_red_on_an_estimate_that_is_taken_for_the_truth(ground: Ground) -> None:
    broken = function(
        "find_abandoned", "coalesce(c.usage_estimated, true)", "coalesce(c.usage_estimated, false)"
    )
    verdict = await prove(ground, 0, SEED, crowd=0, streams=4, broken=broken)
    assert found(verdict) == {"charged for what nobody told of, without a mark": 4}, verdict.told()


async def test_it_goes_red_on_an_estimate_that_is_too_high(ground: Ground) -> None:
    broken = function(
        "find_abandoned",
        "coalesce(c.output_tokens, c.noted_tokens)",
        "coalesce(c.output_tokens, c.noted_tokens * 3)",
    )
    verdict = await prove(ground, 0, SEED, crowd=0, streams=4, broken=broken)
    assert "charged for more than was written" in found(verdict), verdict.told()


def test_chances_are_the_same_again_and_meet_every_kind() -> None:
    made = [chance(SEED, number) for number in range(250)]
    assert made == [chance(SEED, number) for number in range(250)]
    assert {one.usage for one in made} == {"true", "none", "zero", "twice", "growing"}
    for kind in ("fails", "breaks", "is_stream", "leaves_after"):
        assert any(getattr(one, kind) for one in made)
        assert not all(getattr(one, kind) for one in made)
