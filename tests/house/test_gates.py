"""Benchmarks that miss what they must reach end red, and are published as that."""

import json
from typing import Any

import pytest

from benchmarks import marks, minutes, report
from tests.support.shelf import Shelf, of_credits, of_minutes

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
    assert "\N{MULTIPLICATION SIGN}1.40, **not reached** | ≤ 1.3 |" in shelf.page.read_text("utf-8")
    assert "large: alone is not reached" in report.unexplained()
    reason = '[large]\nalone = "The machine was slow."\n'
    (shelf.folder / "not_reached.toml").write_text(reason, encoding="utf-8")
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
    assert "not reached" not in shelf.page.read_text("utf-8")


def test_what_was_never_measured_is_missed_too(shelf: Shelf) -> None:
    assert report.unexplained() == [f"{name}: not measured" for name in report.TABLES]
    (shelf.folder / "not_reached.toml").write_text('[no]\nx = "y"\n', encoding="utf-8")
    assert report.unexplained()[-1] == "no: there is none"


@pytest.mark.parametrize(
    ("last", "table", "missed"),
    [
        ({}, {}, []),
        ({"operations": 5_000}, {}, ["throughput"]),
        ({}, {"bytes": 4_096 * 4}, [*STEADY, *GROWING]),
        # As many more rows as bytes.
        ({}, {"bytes": 4_096 * 4, "live": 100}, STEADY),
    ],
)
def test_minutes_that_grow_slower_or_fatter_are_found(
    last: dict[str, Any], table: dict[str, Any], missed: list[str]
) -> None:
    raw = of_minutes()["minutes"]
    for minute in raw:
        for each in minute["slices"]:
            each["operations"] = 6_000
    raw[-1]["slices"] = [{**each, **last} for each in raw[-1]["slices"]]
    raw[-1]["tables"] = {name: {**size, **table} for name, size in raw[-1]["tables"].items()}
    assert marks.missed(minutes.marks(minutes.read(raw))) == missed
