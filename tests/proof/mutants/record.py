"""The record of a full run: which test killed which mutant, of which text of which function."""

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from tests.proof.mutants.table import Mutant, digest_of_function, digest_of_mutants

RECORD = Path(__file__).parent / "killed.json"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Kill:
    """How a mutant was noticed."""

    killer: str
    seconds: float
    told: str


Record = dict[str, dict[str, Kill]]


def read(path: Path = RECORD) -> tuple[dict[str, tuple[str, str]], Record]:
    """Return the digests of each function and of its mutants, and who killed these."""
    if not path.exists():
        return {}, {}
    raw = json.loads(path.read_text(encoding="utf-8"))
    digests = {file: (kept["function"], kept["mutants"]) for file, kept in raw.items()}
    kills = {
        file: {name: Kill(**kill) for name, kill in kept["killed"].items()}
        for file, kept in raw.items()
    }
    return digests, kills


def write(table: list[Mutant], kills: Record, path: Path = RECORD) -> None:
    """Keep what a run found, beside what is known of the same texts."""
    digests, known = read(path)
    raw = {}
    for file in sorted({mutant.file for mutant in table}):
        now = (digest_of_function(file), digest_of_mutants(file, table))
        names = {mutant.name for mutant in table if mutant.file == file}
        killed = known.get(file, {}) if digests.get(file) == now else {}
        killed = killed | kills.get(file, {})
        raw[file] = {
            "function": now[0],
            "mutants": now[1],
            "killed": {n: asdict(kill) for n, kill in sorted(killed.items()) if n in names},
        }
    path.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


def untried(table: list[Mutant], path: Path = RECORD) -> list[Mutant]:
    """Return the mutants without a kill of record, of these very texts."""
    digests, known = read(path)
    return [
        mutant
        for mutant in table
        if digests.get(mutant.file)
        != (digest_of_function(mutant.file), digest_of_mutants(mutant.file, table))
        or mutant.name not in known[mutant.file]
    ]


def changed(table: list[Mutant], path: Path = RECORD) -> set[str]:
    """Return the functions that are not, or whose mutants are not, as they were recorded."""
    return {mutant.file for mutant in untried(table, path)}


def commit() -> str:
    """Return the commit that is being proven: it chooses the sample."""
    said = os.environ.get("GITHUB_SHA", "")
    if said:
        return said
    told = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip() or "no commit"


def in_turn(table: list[Mutant]) -> list[Mutant]:
    """Return those of unchanged functions in an order that the commit decides, all first."""
    moved = changed(table)
    first = [mutant for mutant in table if mutant.file in moved]
    rest = [mutant for mutant in table if mutant.file not in moved]
    Random(commit()).shuffle(rest)
    return first + rest
