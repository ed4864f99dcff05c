"""A page and results of its own, to see what is published of what."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figures, minutes, report, texts
from benchmarks.callers import Wait
from benchmarks.work import Work


class Shelf:
    """A page and results of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.page = folder / "page.md"
        monkeypatch.setattr(report, "RESULTS", folder)
        monkeypatch.setattr(report, "ROOT", folder)
        monkeypatch.setattr(report, "PAGES", (self.page,))

    def shows(self, *names: str) -> None:
        """Give the page blocks, with something else in them."""
        told = [f"<!-- results: {name} -->\n| 8 |\n<!-- end of results -->\n" for name in names]
        self.page.write_text("\n".join(told), encoding="utf-8")

    def keep(self, name: str, raw: dict[str, Any], **machine: Any) -> None:
        """Put a result there, measured of what stands unless said."""
        ran = {"processor": "P", "cores": 2, "python": "3", "date": "2026-11-26", "commit": "abc"}
        of = {"texts": texts.digests(), "call_texts": texts.digests(patterns=texts.CALLS)}
        now = {**ran, "is_clean": True, **of, **machine}
        kept = json.dumps({"machine": now, **raw})
        (self.folder / f"{name}.json").write_text(kept, encoding="utf-8")

    def written(self) -> str:
        """Write the page, see that it is fresh then, and return it."""
        report.write()
        assert report.write(check=True) == []
        return self.page.read_text("utf-8")


def of_credits(alone: float = 0.6) -> dict[str, Any]:
    """Return two rounds: sets are thrice, then four times what the control is."""
    rounds: list[figures.Round] = [
        {
            "sets": Work(times * 700, 7.0, 0.1, 0.2),
            "bare": Work(700, 7.0, 0.1, 0.2),
            "alone": Wait(9, alone, 0.7),
            "bare alone": Wait(9, 0.5, 0.6),
        }
        for times in (3, 4)
    ]
    marks = [
        {"name": "sets", "control": "bare", "must": 1.0, "aim": 2.0},
        {"name": "alone", "control": "bare alone", "must": 1.3, "aim": 1.1, "at_most": True},
    ]
    return {"figures": marks, "rounds": figures.kept(rounds)}


def of_audits(times: float = 20.0) -> dict[str, Any]:
    """Return two rounds that audit a million rows: since the last so many times as quick."""
    rounds: list[figures.Round] = [
        {
            "since the last": Work(1_000_000, seconds / times, 0.01, 0.25),
            "full": Work(1_000_000, seconds, 0.5, seconds - 1),
        }
        for seconds in (15.0, 25.0)
    ]
    marks = [{"name": "since the last", "control": "full", "must": 10.0, "aim": 50.0}]
    first = asdict(Work(2_000_000, 44.0, 1.0, 42.0))
    return {"figures": marks, "first": first, "rounds": figures.kept(rounds)}


def of_minutes() -> dict[str, Any]:
    """Return two minutes of two slices each: 200 a second, then 100."""
    size = {"bytes": 2_048, "indexes": 1_024, "dead": 7_000, "live": 3}
    taken = [
        {
            "slices": [
                {
                    "operations": operations,
                    "seconds": 30.0,
                    "client_cpu": 0.1,
                    "postgres_cpu": 0.3,
                }
                for _ in range(2)
            ],
            "tables": dict.fromkeys(minutes.TABLES, size),
        }
        for operations in (6_000, 3_000)
    ]
    return {"minutes": taken}


def of_proof(found: int = 0) -> dict[str, Any]:
    return {
        "seed": 7,
        "seconds": 60.0,
        "zeros": [
            {"what": "overspent", "found": found, "of": 1_000, "unit": "rounds"},
            {"what": "deadlocks", "found": 0, "of": 1_000, "unit": "rounds"},
        ],
    }
