"""Pages show the figures that were measured, and no others."""

import json
from pathlib import Path

import pytest

from benchmarks import report


def test_pages_are_as_the_results() -> None:
    assert report.write(check=True) == []


def test_a_page_that_was_polished_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {"table": "| 7 |", "machine": {"processor": "P", "cores": 2, "python": "3"}}
    (tmp_path / "made.json").write_text(json.dumps(raw), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text("<!-- results: made -->\n| 8 |\n<!-- end of results -->\n", encoding="utf-8")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "PAGES", (page,))
    assert report.write(check=True) == ["page.md"]
    report.write()
    assert "| 7 |\n\nOn P, 2 cores" in page.read_text("utf-8")
    assert report.write(check=True) == []
