"""The benchmarks of credits run, and their figures are what they say they are."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.audit import FIGURES as AUDITS
from benchmarks.callers import Wait
from benchmarks.credits import FIGURES
from benchmarks.figures import Figure, Round, marks, table
from benchmarks.harness import require_disk
from benchmarks.marks import verdict
from benchmarks.plot import over_time, ratios
from benchmarks.work import Work

ROOT = Path(__file__).parents[2]
RATE = Figure("sets-hot", "pgbench hot", must=7.0, aim=20.0)
WAIT = Figure("latency", "bare asyncpg", must=1.3, aim=1.1, at_most=True)


def results() -> dict[str, int]:
    folder = ROOT / "benchmarks" / "results"
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


async def bench(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", *arguments, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    shown, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return shown.decode()


async def test_every_figure_is_measured_against_its_control() -> None:
    # It raises where an answer, a count or an audit is not what it should be.
    before = results()
    shown = await bench("credits", "--quick")
    for figure in FIGURES:
        [line] = [
            each
            for each in shown.splitlines()
            if each.startswith(f"| {figure.name}, to {figure.control} |")
        ]
        cells = [cell.strip().replace(",", "") for cell in line.strip("| ").split("|")]
        values = [cell.lstrip("≤≥\N{MULTIPLICATION SIGN} ") for cell in cells[1:6]]
        # A smoke run may miss what it must reach.
        assert cells[6] in {"must and aim", "must", "**not reached**"}
        assert all(float(value) > 0 for value in values)
    assert "audited, no finding" in shown
    assert results() == before


async def test_a_large_database_and_a_small_one_are_made_and_asked() -> None:
    shown = await bench("large", "--quick")
    assert "'ledger_rows': 110, 'accounts': 11" in shown  # with the template's
    assert "| large, to small |" in shown
    assert "| large-again, to small-again |" in shown


async def test_audits_are_told_by_the_million_rows_with_their_control() -> None:
    shown = await bench("audit", "--quick")
    assert "'ledger_rows': 376, 'accounts': 22" in shown  # with hot's and the template's
    for figure in AUDITS:
        assert f"{figure.name}: " in shown
        assert f"| {figure.name}, to full |" in shown


async def test_the_minutes_are_told_one_by_one() -> None:
    shown = await bench("ten_minutes", "--quick")
    assert [line.split(" | ")[0] for line in shown.splitlines() if line[:3] in {"| 1", "| 2"}] == [
        "| 1",
        "| 2",
    ]
    assert "audited, no finding" in shown


def test_a_benchmark_that_the_disk_is_too_small_for_is_not_begun() -> None:
    require_disk(0.001)
    with pytest.raises(SystemExit, match=r"needs 1,000,000 GB in .*TMPDIR"):
        require_disk(1_000_000)


def taken(rate: float, control: float, wait_ms: float) -> Round:
    return {
        "sets-hot": Work(int(rate), 1.0, 0.5, 1.0),
        "pgbench hot": Work(int(control), 1.0, 0.5, 1.0),
        "latency": Wait(100, wait_ms, 9.0),
        "bare asyncpg": Wait(100, 1.0, 9.0),
    }


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    rounds = [taken(1_000, 1_000, 1.2), taken(6_000, 2_000, 1.4), taken(8_000, 4_000, 1.25)]
    assert RATE.ratio(rounds) == pytest.approx(2.0)
    assert WAIT.ratio(rounds) == pytest.approx(1.25)


def test_what_is_missed_is_named() -> None:
    # Throughput is to be high and a wait short: the same ratio passes one and fails the other.
    high = [taken(8_000, 1_000, 8.0)]
    assert verdict(marks([RATE, WAIT], high)) == "not reached: latency"
    low = [taken(1_200, 1_000, 1.2)]
    assert verdict(marks([RATE, WAIT], low)) == "not reached: sets-hot"
    assert verdict(marks([RATE, WAIT], [taken(8_000, 1_000, 1.2)])) == "all reached"


def test_the_table_shows_both_sides_of_each_figure() -> None:
    shown = table([RATE, WAIT], [taken(8_000, 1_000, 1.2)]).splitlines()[2:]
    assert shown == [
        (
            "| sets-hot, to pgbench hot | 8,000 | 1,000 | \N{MULTIPLICATION SIGN}8.00 | ≥ 7 | ≥ 20"
            " | must | 125 | 1,000 | 62.5 | 500 |"
        ),
        (
            "| latency, to bare asyncpg | 1.2 | 1 | \N{MULTIPLICATION SIGN}1.20 | ≤ 1.3 | ≤ 1.1"
            " | must | - | - | - | - |"
        ),
    ]


def test_plots_say_in_words_what_they_show() -> None:
    space = "{http://www.w3.org/2000/svg}"
    page = ET.fromstring(  # noqa: S314  # our own text
        ratios([RATE, WAIT], [taken(1_200, 1_000, 1.2)], "A <title>")
    )
    assert page.findtext(f"{space}title") == "A <title>"
    assert "sets-hot \N{MULTIPLICATION SIGN}1.20, must be ≥ 7 (not reached), aim 20" in (
        page.findtext(f"{space}desc") or ""
    )
    kinds = [dot.get("class") for dot in page.iter(f"{space}circle")]
    assert kinds == ["missed", "value"]
    line = ET.fromstring(over_time([5.0, 10.0], 30, "T", "a second"))  # noqa: S314
    [drawn] = line.iter(f"{space}polyline")
    first, second = [float(each.split(",")[1]) for each in (drawn.get("points") or "").split()]
    assert second < first  # up is less
