"""The table of mutants is fit for use, its record is fresh, and a survivor turns the gate red."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from db.apply import FUNCTIONS
from tests.proof.mutants import record
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


@pytest.mark.parametrize("mutant", TABLE, ids=str)
def test_each_changes_its_function_in_one_place(mutant: Mutant) -> None:
    assert mutant.mutated() != mutant.source()
    assert mutant.means.endswith(".")


def test_a_text_that_stands_twice_or_never_is_no_mutant() -> None:
    for old in ("v_account", "nowhere"):
        with pytest.raises(ValueError, match="stands"):
            Mutant("credits/settle.sql", "vague", old, "x", "Nothing.").mutated()


def test_every_function_that_moves_credits_has_mutants() -> None:
    files = {
        str(path.relative_to(FUNCTIONS))
        for path in (FUNCTIONS / "credits").glob("*.sql")
        if path.stem not in MOVE_NOTHING and not path.stem.startswith("_audit_")
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


def test_a_mutant_that_changes_nothing_survives_and_the_command_fails() -> None:
    ran = subprocess.run(  # our own module
        [
            sys.executable,
            "-m",
            "tests.proof.mutants",
            "--nothing",
            "credits/_settle_limit.sql",
            "--seconds-each",
            "15",
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "survivors: 1 of 1 mutants   ← NOT PROVEN" in ran.stdout
    assert "credits/_settle_limit: nothing" in ran.stdout
