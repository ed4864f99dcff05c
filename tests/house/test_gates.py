"""Benchmarks that miss what they must reach end red, and are published as that."""

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from types import ModuleType
from typing import Any

import pytest

import benchmarks.__main__ as every
from benchmarks import audit, credits, harness, large, marks, minutes, report, ten_minutes
from tests.support.shelf import Shelf, of_audits, of_credits, of_minutes

BENCHES: dict[str, ModuleType] = {
    "credits": credits,
    "large": large,
    "audit": audit,
    "ten_minutes": ten_minutes,
}
# What each misses here.
MISSED: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "credits": ("alone", partial(of_credits, alone=0.7)),
    "large": ("alone", partial(of_credits, alone=0.7)),
    "audit": ("since the last", partial(of_audits, times=5)),
    "ten_minutes": ("throughput", of_minutes),
}
STEADY = ["size of accounts", "size of grants"]
GROWING = ["bytes of a row of reservations", "bytes of a row of transactions"]


def test_a_figure_that_is_missed_ends_its_benchmark_with_one_and_is_published_as_that(
    shelf: Shelf,
) -> None:
    shelf.shows("large")
    path = shelf.folder / "large.json"
    shelf.keep("large", of_credits(alone=0.7))
    raw = json.loads(path.read_text("utf-8"))
    path.unlink()
    with pytest.raises(SystemExit) as ended:
        report.publish("large", path, raw)
    assert ended.value.code == "not reached: alone"
    assert json.loads(path.read_text("utf-8")) == raw
    assert report.write(check=True) == []
    shown = shelf.page.read_text("utf-8")
    assert "\N{MULTIPLICATION SIGN}1.40 | ≤ 1.3 | ≤ 1.1 | **not reached** |" in shown
    assert "\N{MULTIPLICATION SIGN}3.50 | ≥ 1 | ≥ 2 | must and aim |" in shown
    assert "large: alone is not reached" in report.unexplained()
    reasons = shelf.folder / "not_reached.toml"
    reasons.write_text('[large]\nalone = " "\n', encoding="utf-8")
    assert "large: alone is not reached" in report.unexplained()
    reasons.write_text('[large]\nalone = "The machine was slow."\n', encoding="utf-8")
    assert "Not reached: alone. The machine was slow." in shelf.written()
    assert not [each for each in report.unexplained() if each.startswith("large")]
    # A reason that has had its time does not stay.
    shelf.keep("large", of_credits())
    assert "large: alone has a reason and needs none" in report.unexplained()


def test_a_figure_that_is_reached_ends_well(shelf: Shelf) -> None:
    shelf.shows("large")
    shelf.keep("large", of_credits())
    path = shelf.folder / "large.json"
    report.publish("large", path, json.loads(path.read_text("utf-8")))
    shown = shelf.page.read_text("utf-8")
    assert "not reached" not in shown
    assert "\N{MULTIPLICATION SIGN}1.20 | ≤ 1.3 | ≤ 1.1 | must |" in shown


def test_what_was_never_measured_is_missed_too(shelf: Shelf) -> None:
    assert report.unexplained() == [f"{name}: not measured" for name in report.TABLES]
    (shelf.folder / "not_reached.toml").write_text('[no]\nx = "y"\n', encoding="utf-8")
    assert report.unexplained()[-1] == "no: there is none"


def _runs_nothing(monkeypatch: pytest.MonkeyPatch, shelf: Shelf, name: str) -> None:
    """Let a benchmark's command judge what was measured before, in this process."""
    bench = BENCHES[name]
    monkeypatch.setattr(bench, "run", partial(measured, shelf, name))
    monkeypatch.setattr(bench, "require_disk", lambda _: None, raising=False)
    monkeypatch.setattr(bench, "configure_logging", lambda *_, **__: None)


@pytest.mark.parametrize("name", [*BENCHES])
@pytest.mark.parametrize("is_quick", [False, True])
def test_a_command_ends_with_one_unless_its_figures_say_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, *, is_quick: bool
) -> None:
    bench, missed = BENCHES[name], MISSED[name][0]
    shelf.shows(name)
    path = shelf.folder / f"{name}.json"
    _runs_nothing(monkeypatch, shelf, name)
    arguments = ["bench", "--output", str(path), *(["--quick"] if is_quick else [])]
    monkeypatch.setattr(sys, "argv", arguments)
    if is_quick:
        bench.main()
        assert not path.exists()
        return
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == f"not reached: {missed}"
    assert path.exists()
    assert "not reached" in shelf.page.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "option"), [("credits", "--rounds"), ("credits", "--seconds"), ("large", "--accounts")]
)
def test_a_part_of_a_benchmark_is_judged_and_not_kept(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, option: str
) -> None:
    bench = BENCHES[name]
    path = shelf.folder / f"{name}.json"
    _runs_nothing(monkeypatch, shelf, name)
    monkeypatch.setattr(sys, "argv", ["bench", "--output", str(path), option, "1"])
    with pytest.raises(SystemExit, match=r"^not reached: alone$"):
        bench.main()
    assert not path.exists()


def test_a_benchmark_that_ends_red_ends_all_of_them_red(monkeypatch: pytest.MonkeyPatch) -> None:
    # A part of nothing: its own process refuses it.
    monkeypatch.setattr(sys, "argv", ["benchmarks", "large", "--quick", "--accounts", "none"])
    with pytest.raises(SystemExit, match=r"did not reach what they must: large$"):
        every.main()


def test_what_is_published_was_judged_by_the_marks_of_today() -> None:
    figures = {name: BENCHES[name].FIGURES for name in ("credits", "large", "audit")}
    for name, marks_now in figures.items():
        raw = json.loads((harness.RESULTS / f"{name}.json").read_text("utf-8"))
        assert raw["figures"] == [asdict(figure) for figure in marks_now]


@pytest.mark.parametrize(
    ("number", "change", "missed"),
    [
        (4, {}, []),
        (4, {"operations": 5_000}, ["throughput"]),
        (4, {"bytes": 4_096 * 4}, [*STEADY, *GROWING]),
        # As many more rows as bytes.
        (4, {"bytes": 4_096 * 4, "live": 100}, STEADY),
        # Rows are compared with those of the third minute, tables of few rows with the first's.
        (1, {"bytes": 4_096 * 4}, []),
        (3, {"bytes": 256, "indexes": 128}, GROWING),
        (1, {"bytes": 256, "indexes": 128}, STEADY),
    ],
)
def test_minutes_that_grow_slower_or_fatter_are_found(
    number: int, change: dict[str, int], missed: list[str]
) -> None:
    raw = [deepcopy(of_minutes()["minutes"][0]) for _ in range(4)]
    for each in raw[number - 1]["slices"]:
        each.update({key: value for key, value in change.items() if key in each})
    for size in raw[number - 1]["tables"].values():
        size.update({key: value for key, value in change.items() if key in size})
    assert marks.missed(minutes.marks(minutes.read(raw))) == missed


async def measured(shelf: Shelf, name: str, *_: object) -> dict[str, Any]:
    """Return a run that missed something, as if it had been measured."""
    shelf.keep(name, MISSED[name][1]())
    path = shelf.folder / f"{name}.json"
    raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    path.unlink()
    return raw
