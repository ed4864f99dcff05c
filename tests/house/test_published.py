"""Pages show the figures that were measured, and no others, and say of what they are."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as bench
import tests.proof.__main__ as prove
from benchmarks import harness, report, texts
from tests.proof.mutants import record
from tests.proof.mutants.table import mutants
from tests.proof.verdict import Verdict, Zero
from tests.support.shelf import Shelf, of_audits, of_credits, of_minutes, of_proof

RESULTS_MD, HOW_WE_KNOW = report.PAGES
SETTLE = "db/functions/credits/settle.sql"
OPEN = "db/functions/inference/open.sql"


# What is published.


def test_pages_and_plots_are_as_the_results_and_the_functions() -> None:
    assert report.write(check=True) == [], f"stale; {report.COMMAND} says what is true now"


def test_the_table_of_proofs_has_all_that_are_there_to_run() -> None:
    assert sorted(report.PROOFS) == sorted(prove.PROOFS)
    told = report.block("proofs")
    assert [name for name in prove.PROOFS if f"`make prove W={name}`" not in told] == []


def test_every_result_is_shown_and_every_block_is_of_one() -> None:
    kept = {path.stem for path in harness.RESULTS.glob("*.json")}
    assert kept <= {*bench.NAMES, *(f"proof_{name}" for name in prove.PROOFS)}
    assert {*report.TABLES} <= {*bench.NAMES}
    assert {"proofs", *(kept & {*report.TABLES})} <= report.blocks(RESULTS_MD)
    assert report.blocks(RESULTS_MD) <= {"proofs", *report.TABLES}
    assert report.blocks(HOW_WE_KNOW) == {"proofs"}


def test_what_is_published_as_proven_was() -> None:
    broken = [
        f"{path.name}: {zero['found']} of {zero['of']} {zero['what']}"
        for path in harness.RESULTS.glob("proof_*.json")
        for zero in json.loads(path.read_text("utf-8"))["zeros"]
        if zero["found"] or not zero["of"]
    ]
    assert broken == []


def test_what_is_published_is_where_it_must_be_or_says_why_not() -> None:
    assert report.unexplained() == []


# That these would be noticed.


def test_a_page_that_was_polished_is_stale(shelf: Shelf) -> None:
    shelf.keep("large", of_credits())
    shelf.shows("large")
    assert report.write(check=True) == ["page.md"]
    shown = shelf.written()
    ratio = "\N{MULTIPLICATION SIGN}3.50 | ≥ 1 | ≥ 2 | must and aim |"
    assert f"| sets, to bare | 350 | 100 | {ratio}" in shown
    assert "On P, 2 cores, Python 3, what else ran was not noted. Measured 2026-11-26" in shown
    assert " at abc, of the functions as they stand" in shown
    shelf.page.write_text(shown.replace("3.50", "3.60"), encoding="utf-8")
    assert report.write(check=True) == ["page.md"]


def test_a_result_grows_old_when_a_function_changes(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.keep("proof_overspend", of_proof())
    shelf.keep("large", of_credits())
    shelf.shows("proofs", "large")
    assert "| 7, 60 | 2026-11-26 at abc, of the functions as they stand |" in shelf.written()
    changes(monkeypatch, SETTLE)
    assert report.write(check=True) == ["page.md"]
    shown = shelf.written()
    assert "| 7, 60 | 2026-11-26 at abc, changed since: `settle` |" in shown
    assert "Measured 2026-11-26 at abc, changed since: `settle`;" in shown


def test_a_row_names_a_few_of_many_that_changed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.keep("proof_overspend", of_proof())
    shelf.shows("proofs")
    changes(monkeypatch, *sorted(texts.digests())[:8])
    assert ", 2 more |" in shelf.written()


def test_what_was_not_noted_is_not_said_to_stand(shelf: Shelf) -> None:
    shelf.keep("proof_overspend", of_proof())
    raw = json.loads((shelf.folder / "proof_overspend.json").read_text("utf-8"))
    del raw["machine"]["texts"]
    (shelf.folder / "proof_overspend.json").write_text(json.dumps(raw), encoding="utf-8")
    shelf.shows("proofs")
    assert "| at abc; of which functions was not noted |" in shelf.written()


def test_what_no_commit_has_is_marked(shelf: Shelf) -> None:
    shelf.keep("proof_overspend", of_proof(), is_clean=False)
    shelf.shows("proofs")
    assert "2026-11-26 at abc with changes that no commit has, of the" in shelf.written()


def test_what_was_not_measured_is_shown_as_that(shelf: Shelf) -> None:
    shelf.keep("proof_overspend", of_proof(found=1))
    shelf.shows("proofs", "credits")
    shown = shelf.written()
    assert "| overspent | 1 of 1,000 rounds |" in shown
    assert "| `make prove W=model` | not yet run | | | |" in shown
    assert "Not measured yet: `make bench B=credits`." in shown


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("<!-- results: credit -->\n<!-- end of results -->\n", "no table of credit,"),
        ("<!-- results: large -->\n| 8 |\n", "no name, or no end"),
        ("<!-- results: -->\n| 8 |\n<!-- end of results -->\n", "no name, or no end"),
        (
            "<!-- results: large -->\n<!-- results: audit -->\n<!-- end of results -->\n",
            "no name, or no end",
        ),
    ],
)
def test_a_block_that_would_never_be_written_is_refused(shelf: Shelf, page: str, told: str) -> None:
    shelf.page.write_text(page, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        report.write()


def test_plots_are_drawn_from_the_same_results(shelf: Shelf) -> None:
    shelf.keep("credits", of_credits())
    shelf.keep("ten_minutes", of_minutes())
    shelf.shows("credits", "ten_minutes")
    assert report.write(check=True) == ["page.md", "credits.svg", "ten_minutes.svg"]
    shown = shelf.written()
    assert "| 2 | 100 | 100.0 | 2 + 1 KiB, 7,000 dead |" in shown
    told = "throughput \N{MULTIPLICATION SIGN}0.50, must be ≥ 0.9 (not reached); size of accounts"
    assert f"The last minute to the first, in bytes of a row to the third: {told}" in shown
    minute_by_minute = (shelf.folder / "ten_minutes.svg").read_text("utf-8")
    assert "from 100 to 200 reserves and settles a second; last 100" in minute_by_minute
    assert ">2 min<" in minute_by_minute
    drawn = shelf.folder / "credits.svg"
    assert "sets \N{MULTIPLICATION SIGN}3.50, must be ≥ 1 (reached), aim 2" in drawn.read_text(
        "utf-8"
    )
    drawn.write_text(drawn.read_text("utf-8").replace("3.50", "3.60"), encoding="utf-8")
    assert report.write(check=True) == ["credits.svg"]


def test_an_audit_is_told_for_a_million_rows(shelf: Shelf) -> None:
    shelf.keep("audit", of_audits())
    shelf.shows("audit")
    lines = shelf.written().splitlines()
    assert [line for line in lines if line.startswith(("| full", "| since the last |"))] == [
        "| full, the first | 22 | 21 | 0.5 | 1 |",
        "| since the last | 1 | 0.25 | 0.01 | 2 |",
        "| full | 20 | 19 | 0.5 | 2 |",
    ]


def test_a_plot_without_its_result_goes(shelf: Shelf) -> None:
    shelf.keep("credits", of_credits())
    shelf.shows("credits")
    shelf.written()
    (shelf.folder / "credits.json").unlink()
    assert report.write(check=True) == ["page.md", "credits.svg"]
    shelf.written()
    assert not (shelf.folder / "credits.svg").exists()


def test_mutants_that_live_or_were_not_tried_are_told(tmp_path: Path) -> None:
    _, found, _, standing = report.of_mutants()
    assert found.startswith(f"0 of {len(mutants())} mutants of ")
    assert standing == "of the functions as they stand"
    kept = json.loads(record.RECORD.read_text("utf-8"))
    kept["credits/release.sql"]["killed"].popitem()
    kept["credits/settle.sql"]["function"] = "another text"
    path = tmp_path / "killed.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    _, found, slowest, standing = report.of_mutants(path)
    others = [mutant for mutant in mutants() if mutant.file != "credits/settle.sql"]
    assert found.startswith(f"1 of {len(others)} mutants of ")
    assert slowest.startswith("slowest kill ")
    assert standing == "changed since: `settle`"


# What counts as a change.


@pytest.mark.parametrize(
    ("one", "other", "suffix", "is_same"),
    [
        ("a = 1; -- it's\nb", "a = 1; /* why */\n    b", ".sql", True),
        ("a = '--x';", "a = '--y';", ".sql", False),
        ("a = 'x  y';", "a = 'x y';", ".sql", False),
        ("a = 'it''s -- x';", "a = 'it''s -- y';", ".sql", False),
        ("-- off: a;\nb;", "a;\nb;", ".sql", False),
        ("a b", "ab", ".sql", False),
        ("x = 1  # why\n", "# because\n\nx = 1\n", ".py", True),
        ("x = '# 1'\n", "x = '# 2'\n", ".py", False),
        ("if x:\n    y()\nz()\n", "if x:\n    y()\n    z()\n", ".py", False),
    ],
)
def test_comments_do_not_count(one: str, other: str, suffix: str, *, is_same: bool) -> None:
    assert (texts.digest(one, suffix) == texts.digest(other, suffix)) is is_same


def test_no_mutant_has_the_digest_of_what_it_breaks() -> None:
    table = mutants()
    same = [
        str(mutant)
        for mutant in table
        if texts.digest(mutant.mutated(), ".sql") == texts.digest(mutant.source(), ".sql")
    ]
    assert table
    assert same == []


def test_what_is_new_and_what_is_gone_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "db/functions/credits"
    folder.mkdir(parents=True)
    for name in ("settle", "release", "reserve"):
        (folder / f"{name}.sql").write_text("a;", encoding="utf-8")
    since = texts.digests(tmp_path)
    assert texts.changed(since, tmp_path) == []
    (folder / "settle.sql").write_text("-- so\na;", encoding="utf-8")
    (folder / "release.sql").write_text("b;", encoding="utf-8")
    (folder / "reserve.sql").rename(folder / "deduct.sql")
    assert [Path(path).stem for path in texts.changed(since, tmp_path)] == [
        "deduct",
        "release",
        "reserve",
    ]


def test_functions_migrations_and_methods_count() -> None:
    there = texts.digests()
    assert SETTLE in there
    assert "app/credits/batches.py" in there
    assert any(path.endswith("0001_foundations.sql") for path in there)


def test_what_decides_of_calls_counts_for_results_of_calls(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.keep("proof_calls", of_proof())
    shelf.keep("proof_crashes", of_proof())
    shelf.shows("proofs")
    assert shelf.written().count("of the functions as they stand |") == 3
    changes(monkeypatch, OPEN, SETTLE)
    shown = shelf.written()
    assert "at abc, changed since: `settle`, `open` |" in shown
    assert "at abc, changed since: `settle` |" in shown


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("create table catalog.sold (price credits.microcredits, by credits.actor);", False),
        ("-- credits.accounts\ncreate table catalog.sold ();", False),
        ("create table catalog.sold (id uuid references credits.accounts);", True),
        ("create index on CREDITS.grants (id);", True),
        ("drop schema usage;", True),
        ("alter domain credits.microcredits drop constraint positive;", True),
    ],
)
def test_a_migration_counts_if_it_touches_what_is_where_credits_are(
    tmp_path: Path, statement: str, *, counts: bool
) -> None:
    folder = tmp_path / "db/migrations/versions"
    folder.mkdir(parents=True)
    (folder / "0001_sold.sql").write_text(statement, encoding="utf-8")
    (folder / "0001_sold.py").write_text("revision = 1", encoding="utf-8")
    both = ["0001_sold.py", "0001_sold.sql"]
    assert [Path(path).name for path in sorted(texts.digests(tmp_path))] == both * counts
    # What was noted of it before does not count either.
    noted = dict.fromkeys((f"db/migrations/versions/{name}" for name in both), "another")
    assert [Path(path).name for path in texts.changed(noted, tmp_path)] == both * counts


# What is kept.


def test_what_changes_while_a_proof_runs_is_not_kept(
    tmp_path: Path,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf.shows("proofs")
    outcome = Verdict("overspend", 7, [Zero("overspent", 10, "rounds")])
    path = tmp_path / "proof_overspend.json"
    changes(monkeypatch, SETTLE)
    assert outcome.finish(path) == 1
    assert f"not kept, these changed while it ran: {SETTLE}" in capsys.readouterr().out
    assert not path.exists()


def test_a_kept_proof_says_of_what_and_is_shown(tmp_path: Path, shelf: Shelf) -> None:
    shelf.shows("proofs")
    outcome = Verdict("overspend", 7, [Zero("overspent", 10, "rounds")])
    assert outcome.finish(tmp_path / "proof_overspend.json") == 0
    kept = json.loads((tmp_path / "proof_overspend.json").read_text("utf-8"))
    assert kept["machine"]["texts"] == texts.digests()
    assert {"date", "commit", "is_clean"} <= kept["machine"].keys()
    assert report.write(check=True) == []
    assert "| overspent | 0 of 10 rounds |" in shelf.page.read_text("utf-8")


def test_a_tree_is_clean_but_for_what_runs_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "ROOT", tmp_path)
    assert not harness.is_clean()
    git = shutil.which("git") or "git"
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "One")):
        subprocess.run([git, *command], cwd=tmp_path, check=True)  # noqa: S603  # our own arguments
    assert harness.is_clean()
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/large.json").write_text("{}", encoding="utf-8")
    assert harness.is_clean()
    (tmp_path / "settle.sql").write_text("a;", encoding="utf-8")
    assert not harness.is_clean()


def changes(monkeypatch: pytest.MonkeyPatch, *paths: str) -> None:
    """Let texts be others than they are."""
    real: Callable[..., dict[str, str]] = texts.digests

    def edited(*arguments: Any, **options: Any) -> dict[str, str]:
        found = real(*arguments, **options)
        return found | dict.fromkeys(found.keys() & {*paths}, "another text")

    monkeypatch.setattr(texts, "digests", edited)
