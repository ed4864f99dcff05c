"""The benchmark of the edge runs, and its figures are what it says they are."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from benchmarks.edge import GOALS
from benchmarks.load import Run
from benchmarks.rounds import CONTROL, Round, kept, ratio, read, table

ROOT = Path(__file__).parents[2]


def taken(microseconds: float, control: float) -> Round:
    return {
        "trusted": Run(1_000, 0.5, microseconds / 1_000, 1.0, 2.0),
        CONTROL: Run(1_000, 0.25, control / 1_000, 0.5, 3.0),
    }


def results() -> dict[str, int]:
    folder = ROOT / "benchmarks" / "results"
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


async def test_every_row_is_measured_against_its_control() -> None:
    # It raises where an answer is not what it should be, or tells other facts.
    before = results()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", "edge", "--quick", cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    shown, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    for name, variant in GOALS:
        [line] = [each for each in shown.decode().splitlines() if f"| {name}, {variant} |" in each]
        cells = [cell.strip().replace(",", "") for cell in line.strip("| ").split("|")]
        assert all(float(cell.lstrip("≤ ")) > 0 for cell in cells[1:]), line
    assert results() == before


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # Not the ratio of the medians, which would be 5/3: what a noisy minute does to one, it
    # does to the other.
    rounds = [taken(1, 1), taken(6, 2), taken(5, 4), taken(9, 3), taken(4, 8)]
    assert ratio(rounds, "trusted") == pytest.approx(1.25)
    assert ratio(read(kept(rounds)), "trusted") == pytest.approx(1.25)


def test_the_table_shows_what_was_measured_and_no_more() -> None:
    shown = table({"creditBalance": [taken(300, 200)]}, GOALS).splitlines()
    assert len(shown) == 3
    assert shown[2] == (
        "| creditBalance, trusted | 300 | 200 | 1.50 | ≤ 1 | 2,000 | 4,000 | 1 | 0.5 | 2 | 3 |"
    )
