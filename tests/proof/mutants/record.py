"""The record of a full run: which test killed which mutant, of which text of which function."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.proof.mutants.table import Mutant, digest_of_function, digest_of_mutants

RECORD = Path(__file__).parent / "killed.json"
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Kill:
    """How a mutant was noticed."""

    killer: str
    seconds: float
    told: str

    @property
    def file(self) -> str:
        """The file of the test that noticed it, from the root."""
        return self.killer.split("::", maxsplit=1)[0]

    @property
    def test(self) -> str:
        """The name of that test."""
        return self.killer.split("::")[-1].partition("[")[0]


Record = dict[str, dict[str, Kill]]
Digests = dict[str, tuple[str, str]]


def read(path: Path = RECORD) -> tuple[Digests, Record]:
    """Return the digests of each function and of its mutants, and who killed these."""
    return parse(path.read_text(encoding="utf-8")) if path.exists() else ({}, {})


def parse(text: str) -> tuple[Digests, Record]:
    """Return the same of a record's text."""
    raw = json.loads(text)
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


def moved(table: list[Mutant], path: Path = RECORD) -> set[str]:
    """Return the functions whose text, or whose mutants, are not those of the record."""
    digests, _ = read(path)
    return differing(table, digests)


def differing(table: list[Mutant], digests: Digests) -> set[str]:
    """Return the functions whose digests are others than these."""
    return {
        file
        for file in {mutant.file for mutant in table}
        if digests.get(file) != (digest_of_function(file), digest_of_mutants(file, table))
    }


def untried(table: list[Mutant], path: Path = RECORD) -> list[Mutant]:
    """Return the mutants without a kill of record, of these very texts."""
    _, known = read(path)
    others = moved(table, path)
    return [
        mutant for mutant in table if mutant.file in others or mutant.name not in known[mutant.file]
    ]


def changed(table: list[Mutant], path: Path = RECORD) -> set[str]:
    """Return the functions that are not, or whose mutants are not, as they were recorded."""
    return {mutant.file for mutant in untried(table, path)}
