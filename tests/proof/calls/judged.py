"""Calls by chance against the truth: what each cost, and what it had to cost."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.standin.said import Said
from tests.proof.calls.chances import Chance
from tests.proof.calls.prices import MODELS, Policy
from tests.proof.verdict import Verdict, Zero
from tests.support.accounts import CREDIT

OTHERWISE = "charged otherwise than the provider said"


def judge(
    verdict: Verdict,
    seen: Mapping[str, tuple[Chance, int]],
    rows: Mapping[str, Mapping[str, Any]],
    said: Mapping[str, Said],
    policies: Mapping[UUID, Policy],
) -> None:
    """Compare each call with what the stand-in really did; note what is wrong, and how far off."""
    exact = {
        model.key: Zero(f"{OTHERWISE}, {model.told}", 0, "calls that it told of")
        for model in MODELS
    }
    unmarked = Zero("charged by an estimate without a mark", 0, "calls that it did not tell of")
    wrong = Zero("estimated more than was written, or less than was heard", 0, "estimates")
    nothing = Zero("charged though nobody answered", 0, "calls that nobody answered")
    elsewhere = Zero("answered by another model than was asked", 0, "calls")
    lost = Zero("calls without a record", len(seen), "calls")
    beside = []
    for key, (one, heard) in seen.items():
        row, truth = rows.get(key), said.get(key)
        if row is None:
            lost.happened(key)
            continue
        policy = policies[row["project_id"]]
        _count(elsewhere, row["model"] == one.model.key, f"{key}: {row['model']}, {one}")
        if one.fails or truth is None or row["state"] == "released":
            _count(nothing, row["credits"] == 0, f"{key}: {row['credits']}")
        elif row["usage_estimated"]:
            used = row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]
            is_between = heard <= row["output_tokens"] <= truth.written
            is_covered = row["input_tokens"] >= truth.read
            told = f"{key}: heard {heard}, {truth}, {row}"
            is_of_that = row["credits"] == one.model.charge(policy, *used)
            _count(wrong, is_between and is_covered and is_of_that, told)
            real = one.model.charge(policy, truth.read, truth.cached, truth.written)
            beside.append(row["credits"] - real)
        else:
            used = (0, 0, 0) if one.usage == "zero" else (truth.read, truth.cached, truth.written)
            expected = one.model.charge(policy, *used)
            told = f"{key}: charged {row['credits']}, not {expected}: {one}"
            _count(exact[one.model.key], row["credits"] == expected, told)
        if one.usage == "none" and row["state"] == "settled":
            _count(unmarked, row["usage_estimated"] is True, key)
    verdict.zeros += [*exact.values(), unmarked, wrong, nothing, elsewhere, lost]
    verdict.figures["charged by an estimate, and marked"] = _bounds(beside)


def _count(zero: Zero, is_right: bool, told: str) -> None:  # noqa: FBT001  # what it is about
    zero.of += 1
    if not is_right:
        zero.happened(told)


def _bounds(beside: list[int]) -> str:
    """Return how far estimates are from the truth at most, below and above."""
    below, above = max(0, -min(beside, default=0)), max(0, *beside, 0)
    return (
        f"{len(beside):,}; beside what the provider did, at most {_shown(below)} credits too"
        f" few for one and {_shown(above)} too many"
    )


def _shown(credits: int) -> str:
    whole, rest = divmod(credits, CREDIT)
    return f"{whole:,}.{rest:06}".rstrip("0").rstrip(".")
