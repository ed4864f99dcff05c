"""The table of mutants is fit for use, its record is fresh, and a survivor turns the gate red."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from db.apply import FUNCTIONS
from tests.proof.mutants import history, record
from tests.proof.mutants.table import Mutant, mutants
from tests.proof.mutants.trial import SECONDS

TABLE = mutants()
ROOT = Path(__file__).parents[2]

# Functions that move no credits: they read, judge, or say what a check says.
MOVE_NOTHING = {
    "_assert_set",
    "_balance",
    "_checks",
    "_lifetime_limit",
    "_note_change",
    "audit",
    "audit_and_mark",
    "check_balance",
    "find_overdue",
    "newer_balances",
    "read_balances",
    "refuse_ledger_change",
    "set_policy",
    "settled_amounts",
}
# Of calls of models: what only reads. Terms are told by the functions that use them.
READ_CALLS = {
    "_access",
    "_checks",
    "_terms",
    "_told_levels",
    "check_access",
    "read_charge",
    "read_limits",
}


@pytest.mark.parametrize("mutant", TABLE, ids=str)
def test_each_changes_its_function_in_one_place(mutant: Mutant) -> None:
    assert mutant.mutated() != mutant.source()
    assert mutant.means.endswith(".")


def test_a_text_that_stands_twice_or_never_is_no_mutant() -> None:
    for old in ("v_account", "nowhere"):
        with pytest.raises(ValueError, match="stands"):
            Mutant("credits/settle.sql", "vague", old, "x", "Nothing.").mutated()


def test_every_function_that_moves_credits_or_decides_of_calls_has_mutants() -> None:
    files = {
        str(path.relative_to(FUNCTIONS))
        for path in (FUNCTIONS / "credits").glob("*.sql")
        if path.stem not in MOVE_NOTHING and not path.stem.startswith("_audit_")
    }
    files |= {
        str(path.relative_to(FUNCTIONS))
        for path in (FUNCTIONS / "inference").glob("*.sql")
        if path.stem not in READ_CALLS
    }
    files |= {"usage/record.sql", "events/emit.sql"}
    assert {mutant.file for mutant in TABLE} == files


def test_there_are_enough_and_none_twice() -> None:
    assert len(TABLE) >= 60
    twice = Counter((mutant.file, mutant.old, mutant.new) for mutant in TABLE)
    assert [told for told, count in twice.items() if count > 1] == []
    names = Counter(str(mutant) for mutant in TABLE)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_record_is_of_these_functions_and_has_no_survivor() -> None:
    assert record.changed(TABLE) == set(), "make mutants, and commit what it records"
    _, kills = record.read()
    killed = {(file, name) for file, named in kills.items() for name in named}
    assert killed == {(mutant.file, mutant.name) for mutant in TABLE}
    slowest = max(kill.seconds for named in kills.values() for kill in named.values())
    assert slowest <= SECONDS


def test_a_changed_function_is_tried_first(tmp_path: Path) -> None:
    kept = json.loads(record.RECORD.read_text(encoding="utf-8"))
    kept["credits/settle.sql"]["function"] = "another text"
    del kept["credits/release.sql"]
    changed = tmp_path / "killed.json"
    changed.write_text(json.dumps(kept), encoding="utf-8")
    assert record.changed(TABLE, changed) == {"credits/settle.sql", "credits/release.sql"}


def test_every_killer_of_record_stands_there() -> None:
    _, kills = record.read()
    tests: dict[str, set[str]] = {}
    for kill in {kill for named in kills.values() for kill in named.values()}:
        if kill.file not in tests:
            module = ast.parse((ROOT / kill.file).read_text("utf-8"))
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            tests[kill.file] = {node.name for node in ast.walk(module) if isinstance(node, kinds)}
        assert kill.test in tests[kill.file], kill.killer


class Past:
    """A repository with a history of its own, whose second commit is two days after the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git = shutil.which("git") or "git"
        self.do("init", "-q")

    def do(self, *arguments: str, day: int = 1) -> str:
        when = f"2026-03-0{day}T10:00:00+00:00"
        who = ("-c", "user.name=T", "-c", "user.email=t@example.org")
        return subprocess.run(  # noqa: S603  # our own arguments
            [self.git, *who, *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
            env={"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, "PATH": os.environ["PATH"]},
        ).stdout.strip()

    def commit(self, day: int, **files: str) -> str:
        for name, text in files.items():
            path = self.root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".json" if "killed" in name else ".py").write_text(text, "utf-8")
        self.do("add", "-A")
        self.do("commit", "-q", "--allow-empty", "-m", "One", day=day)
        return self.do("rev-parse", "HEAD")


KILLED = "tests__proof__mutants__killed"


def test_what_changed_is_what_git_says_and_not_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_BASE", raising=False)
    past = Past(tmp_path)
    _, kills = record.read()
    kept = json.loads(record.RECORD.read_text("utf-8"))
    # As it was before a change of settle that brought its record along.
    kept["credits/settle.sql"]["function"] = "another text"
    killer = kills["credits/release.sql"].popitem()[1].file
    name = killer.removesuffix(".py").replace("/", "__")
    first = past.commit(1, **{KILLED: json.dumps(kept), name: "before"})
    past.commit(3, **{KILLED: record.RECORD.read_text("utf-8"), name: "after"})
    assert history.base(tmp_path) == first
    _, kills = record.read()
    assert history.since(first, TABLE, tmp_path) == {
        mutant
        for mutant in TABLE
        if mutant.file == "credits/settle.sql" or kills[mutant.file][mutant.name].file == killer
    }
    last = past.do("rev-parse", "HEAD")
    assert history.since(last, TABLE, tmp_path) == set()
    monkeypatch.setenv("CI_BASE", last)
    assert history.base(tmp_path) == last
    monkeypatch.setenv("CI_BASE", "nowhere")
    with pytest.raises(ValueError, match="CI_BASE is no commit here: nowhere"):
        history.base(tmp_path)


def test_a_record_that_only_names_another_killer_is_not_believed(tmp_path: Path) -> None:
    past = Past(tmp_path)
    kept = json.loads(record.RECORD.read_text("utf-8"))
    name, kill = next(iter(kept["credits/settle.sql"]["killed"].items()))
    kill["killer"] = "tests/functions/test_gone.py::test_gone"
    first = past.commit(1, **{KILLED: json.dumps(kept)})
    assert [(mutant.file, mutant.name) for mutant in history.since(first, TABLE, tmp_path)] == [
        ("credits/settle.sql", name)
    ]


def test_without_a_record_of_then_all_has_changed_and_without_git_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_BASE", raising=False)
    assert history.base(tmp_path) is None
    past = Past(tmp_path)
    first = past.commit(1)
    # Younger than a day.
    assert history.base(tmp_path) == first
    assert history.since(first, TABLE, tmp_path) == set(TABLE)
    cut_off = tmp_path / "cut-off"
    past.commit(3)
    past.do("clone", "-q", "--depth", "1", f"file://{tmp_path}", str(cut_off))
    assert history.base(cut_off) is None


def test_a_mutant_that_changes_nothing_survives_and_the_command_fails() -> None:
    ran = subprocess.run(  # our own module
        [
            sys.executable,
            "-m",
            "tests.proof.mutants",
            "--nothing",
            "credits/_settle_limit.sql",
            "--own",
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "survivors: 1 of 1 mutants   ← NOT PROVEN" in ran.stdout
    # Not that the time was up: all that know the function were asked, and saw nothing.
    assert "SURVIVED credits/_settle_limit: nothing: no test noticed" in ran.stdout
