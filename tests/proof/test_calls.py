"""The proof of calls of models at the size of CI, and that it goes red on what is broken."""

from collections.abc import Callable

import pytest

from db.apply import FUNCTIONS
from tests.proof.calls.chances import chance
from tests.proof.calls.judged import OTHERWISE
from tests.proof.calls.prices import (
    CLAUDE,
    COARSE,
    FINE,
    MODELS,
    OTHER,
    RATED,
    SAID,
    Model,
    Policy,
)
from tests.proof.calls.run import prove
from tests.proof.ground import Ground
from tests.proof.verdict import Verdict

SEED = 5


def function(name: str, *changes: tuple[str, str]) -> str:
    """Return a function with something else in the places of parts of it."""
    text = (FUNCTIONS / "inference" / f"{name}.sql").read_text(encoding="utf-8")
    for here, there in changes:
        assert text.count(here) == 1
        text = text.replace(here, there)
    return text


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


async def test_it_goes_red_on_broken_charges_and_on_streams_that_run_on(ground: Ground) -> None:
    """Each model has a fault of its own, which its own calls find; and a crowd finds the last."""
    broken = function(
        "_cost",
        # One forgets the cache.
        (
            "p_cached_input::numeric * p.cached_input_nanodollars",
            (
                "p_cached_input::numeric * case p_model when 'said'"
                " then p.input_nanodollars else p.cached_input_nanodollars end"
            ),
        ),
        # One has the price of the next.
        ("p.model_key = p_model", "p.model_key = replace(p_model, 'other', 'claude')"),
        # One is a micro-credit too dear.
        ("* v_policy.increment)::bigint)", "* v_policy.increment)::bigint) + 1"),
    )
    verdict = await prove(
        ground,
        100,
        SEED,
        crowd=60,
        streams=0,
        broken=broken,
        # And of one the usage is read wrongly.
        misreads=True,
        stops=False,
    )
    expected = {f"{OTHERWISE}, {model.told}" for model in MODELS} | {"spent more than there was"}
    # An estimate of the same tokens is charged as wrongly.
    estimates = "estimated more than was written, or less than was heard"
    assert expected <= found(verdict).keys() <= {*expected, estimates}, verdict.told()
    told = {zero.what: zero for zero in verdict.zeros}
    [rated, claude] = [told[f"{OTHERWISE}, {model.told}"] for model in (RATED, CLAUDE)]
    # Each that cost anything, and each that was read from a cache: no others.
    assert 0 < rated.found <= rated.of
    assert all("cached=" in each for each in claude.examples)


async def test_it_goes_red_on_estimates_that_are_unmarked_and_too_high(ground: Ground) -> None:
    broken = function(
        "find_abandoned",
        ("coalesce(c.usage_estimated, true)", "coalesce(c.usage_estimated, false)"),
        (
            "coalesce(c.output_tokens, c.noted_tokens)",
            "coalesce(c.output_tokens, c.noted_tokens * 3)",
        ),
    )
    verdict = await prove(ground, 0, SEED, crowd=0, streams=4, broken=broken)
    assert found(verdict) == {
        "charged for what nobody told of, without a mark": 4,
        "charged for more than was written": 4,
    }, verdict.told()


# What it is held against.


@pytest.mark.parametrize(
    ("model", "policy", "used", "credits"),
    [
        (SAID, COARSE, (10, 4, 7), 18_000_000),
        (SAID, COARSE, (0, 0, 0), 0),
        # Half a credit and a quarter of one, by the quarter; and by the millionth, of a credit
        # that is worth 1.234567 as much.
        (SAID, COARSE, (1, 0, 0), 500_000),
        (SAID, FINE, (1, 0, 0), 405_001),
        # 777,778 billionths of a dollar come to 0.777778 credits.
        (OTHER, COARSE, (1, 0, 0), 1_000_000),
        (OTHER, FINE, (1, 0, 0), 630_001),
        # A rate is of tokens, wherever they were read; 1,234.567891 credits for a thousand.
        (RATED, COARSE, (1, 1, 0), 1_250_000),
        (RATED, FINE, (2, 1, 1), 3_703_704),
        (CLAUDE, FINE, (100, 50, 3), 17_010_014),
    ],
)
def test_the_rules_by_which_it_is_judged(
    model: Model, policy: Policy, used: tuple[int, int, int], credits: int
) -> None:
    assert model.charge(policy, *used) == credits


def test_chances_are_the_same_again_and_meet_every_kind() -> None:
    made = [chance(SEED, number) for number in range(250)]
    assert made == [chance(SEED, number) for number in range(250)]
    assert {one.usage for one in made} == {"true", "none", "zero", "twice", "growing"}
    assert {one.model for one in made} == set(MODELS)
    assert {one.choices for one in made} == {1, 2, 5}
    for model in MODELS:
        assert {one.is_stream for one in made if one.model is model} == {True, False}
        assert any(one.leaves_after for one in made if one.model is model)
    for kind in ("fails", "breaks", "is_stream", "leaves_after"):
        assert any(getattr(one, kind) for one in made)
        assert not all(getattr(one, kind) for one in made)
