"""Which mutants git says are to be tried anew: of what changed since a commit that passed.

The record may not be believed for those: it stands in the same change as the function, and a
killer that changed may have stopped to kill.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.proof.mutants import record
from tests.proof.mutants.table import Mutant

# Where nobody says what passed last: a day of changes.
_SECONDS = 24 * 60 * 60
_BASE = "CI_BASE"


def base(root: Path = record.ROOT) -> str | None:
    """Return the commit since which changes count: of CI_BASE, or a day before the last one.

    None without git, or with a clone that is cut off: there is nothing to compare with. Raises
    where CI_BASE is no commit.
    """
    if named := os.environ.get(_BASE):
        found = _git(root, "rev-parse", "--verify", f"{named}^{{commit}}")
        if found is None:
            raise ValueError(f"{_BASE} is no commit here: {named}")
        return found
    if _git(root, "rev-parse", "--is-shallow-repository") != "false":
        return None
    last = _git(root, "log", "-1", "--format=%ct")
    if last is None:
        return None
    then = f"--min-age={int(last) - _SECONDS}"
    before = _git(root, "rev-list", "-1", "--first-parent", then, "HEAD")
    # A history that is younger began with nothing.
    return before or _git(root, "rev-list", "--max-parents=0", "HEAD")


def since(commit: str, table: list[Mutant], root: Path = record.ROOT) -> set[Mutant]:
    """Return the mutants of functions, or with killers, that are not as they were then.

    Also those whose killer is another one now: a record is written, not only made.
    """
    then = _git(root, "show", f"{commit}:{record.RECORD.relative_to(record.ROOT)}")
    digests, before = ({}, {}) if then is None else record.parse(then)
    moved = record.differing(table, digests)
    tests = set((_git(root, "diff", "--name-only", commit, "--", "tests") or "").split())
    _, kills = record.read()
    return {
        mutant
        for mutant in table
        if mutant.file in moved
        or (kill := kills[mutant.file][mutant.name]).file in tests
        or (was := before[mutant.file].get(mutant.name)) is None
        or was.killer != kill.killer
    }


def _git(root: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    told = subprocess.run(  # noqa: S603  # our own arguments
        [git, *arguments], capture_output=True, text=True, check=False, cwd=root
    )
    return told.stdout.strip() if told.returncode == 0 else None
