"""The table of mutants: what is changed in which function, and what it would mean."""

import hashlib
import json
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from db.apply import FUNCTIONS

FOLDER = Path(__file__).parent / "table"
TESTS = Path(__file__).parents[2]

# Which tests know a function best, where their names do not say so.
_KNOWN_BY = {
    "_activate": "issue_grant forgive_overage void_grant_debt thresholds settle_overage",
    "_allow": "set_allowance set_allowance_terms paid_late",
    "_book_settles": "settle settle_sets settle_usage",
    "_catch_up": "overdue set_allowance_terms periods periods_ties paid_late catch_up lapse",
    "_check_reserve": "reserve",
    "adjust": "adjust overdue reserve_shortfall",
    "deduct": "deduct far_behind overdue",
    "reserve": "reserve reserve_sets reserve_replay reserve_shortfall settle_overage far_behind",
    "settle": "settle_overage settle settle_sets settle_draws settle_usage thresholds release",
    "_claw_back": "adjust void_grant_debt void_grant",
    "_draw": "settle_draws settle_sets lapse lapse_pool",
    "_expire_due": "expire_reservations overdue lapse catch_up far_behind periods",
    "_expire_grants": "lapse catch_up lapse_pool crowded",
    "_give": "issue_grant issue_grant_refusals periods",
    "_held_by": "lapse lapse_pool",
    "_keep": "void_grant set_allowance",
    "_lapse": "lapse lapse_pool",
    "_next_due": "issue_grant catch_up periods",
    "_note_level": "thresholds",
    "_replenish": "reserve_shortfall set_allowance periods",
    "_room": "issue_grant_refusals far_behind",
    "_save": "thresholds set_limits reserve",
    "_settle_limit": "settle_overage settle",
    "_take": "void_grant lapse catch_up",
    "_assert_read_committed": "ledger_guards",
    "_reserve_fingerprint": "reserve_replay reserve_sets",
    "_lock_free": "reserve_many",
    "reserve_many": "reserve_many many_clock many_like_sets rows_read",
    "settle_many": "settle_many many_clock many_like_sets rows_read",
    "release_many": "release_many many_clock many_like_sets rows_read",
    "_lock": "periods catch_up reserve conservation",
    "record": "settle_usage deduct",
    "emit": "thresholds issue_grant",
    "open": "open_call call_limits calls_many",
    "open_many": "calls_many",
    "close": "close_call calls_many",
    "close_many": "calls_many",
    "_limit_reached": "call_limits calls_many",
    "inference/extend": "extend_call close_call",
    "give_back": "close_call",
    "fall_back": "close_call",
    "note_answer": "close_call",
    "find_abandoned": "find_abandoned close_call",
    "_cost": "close_call open_call read_charge",
}
# Races that only an order of two callers can lose.
_RACED = {
    "_lock": "reserve_and_deduct closing",
    "_lock_free": "lock_free",
    "reserve_many": "lock_free",
    "settle_many": "lock_free",
    "release_many": "lock_free",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one function's text."""

    file: str
    name: str
    old: str
    new: str
    means: str
    # Which of the places where the text stands; it must stand once unless this is said.
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.file.removesuffix('.sql')}: {self.name}"

    def source(self) -> str:
        """Return the function's file as it is."""
        return (FUNCTIONS / self.file).read_text(encoding="utf-8")

    def mutated(self) -> str:
        """Return the function's file with the change in it."""
        parts = self.source().split(self.old)
        if len(parts) <= max(1, self.nth) or (not self.nth and len(parts) != 2):
            raise ValueError(f"{self}: the text stands {len(parts) - 1} times in {self.file}")
        at = self.nth or 1
        return self.old.join(parts[:at]) + self.new + self.old.join(parts[at:])

    def tests(self) -> list[str]:
        """Return the files of tests that know the function best, dearest last."""
        stem = Path(self.file).stem
        knowing = _KNOWN_BY.get(self.file.removesuffix(".sql"), _KNOWN_BY.get(stem, ""))
        named = [TESTS / f"races/test_{race}.py" for race in _RACED.get(stem, "").split()] + [
            TESTS / f"functions/test_{test}.py" for test in knowing.split()
        ]
        if not named:
            named = sorted((TESTS / "functions").glob(f"test_{stem}*.py"))
        return [str(path) for path in named]

    def other_tests(self) -> list[str]:
        """Return all that may still notice: functions, then races; walks last."""
        others = [
            *sorted((TESTS / "functions").glob("test_*.py")),
            *sorted((TESTS / "races").glob("test_*.py")),
        ]
        # That test breaks the lock by its text, and would only say that the text is gone.
        broken_lock = TESTS / "races/test_broken_lock.py"
        known = {*self.tests(), str(broken_lock)}
        return [str(path) for path in others if str(path) not in known]


def mutants() -> list[Mutant]:
    """Return the whole table, in order of files."""
    made = [
        Mutant(file, name, **told)
        for path in sorted(FOLDER.glob("*.toml"))
        for file, named in tomllib.loads(path.read_text(encoding="utf-8")).items()
        for name, told in named.items()
    ]
    # In turns: a run that is cut short has tried some of every function.
    seen: Counter[str] = Counter()
    turns = {}
    for mutant in made:
        turns[mutant] = (seen[mutant.file], mutant.file)
        seen[mutant.file] += 1
    return sorted(made, key=turns.__getitem__)


def digest_of_function(file: str) -> str:
    """Return what a function's file says, as a digest."""
    return hashlib.sha256((FUNCTIONS / file).read_bytes()).hexdigest()[:16]


def digest_of_mutants(file: str, table: list[Mutant]) -> str:
    """Return what the table has about a function, as a digest."""
    told = [(m.name, m.old, m.new, m.nth) for m in table if m.file == file]
    return hashlib.sha256(json.dumps(sorted(told)).encode()).hexdigest()[:16]
