"""Try the mutants of the money functions: all, those named, or what changed and a sample."""

import argparse
import asyncio
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import asyncpg

from benchmarks import report
from benchmarks.harness import commit
from tests.proof.ground import Ground, ground
from tests.proof.mutants import history, record
from tests.proof.mutants.record import Kill
from tests.proof.mutants.table import Mutant, mutants
from tests.proof.mutants.trial import SECONDS, start
from tests.proof.verdict import Verdict, Zero

POLL_SECONDS = 0.02
LANES = 2
ERROR_OF_PYTEST = 2
# For what changed and the sample together.
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; without a kill it survived, or never ran."""

    kill: Kill | None
    told: str = ""


class Laboratory:
    """Servers, a template, and one mutated clone of it at a time for each lane."""

    def __init__(
        self,
        runner: asyncio.Runner,
        made: Ground,
        folder: Path,
        seconds_each: float,
        *,
        only_own: bool,
    ) -> None:
        self._seconds_each = seconds_each
        self._only_own = only_own
        self._runner = runner
        self._ground = made
        self._folder = folder

    @contextmanager
    def clone(self, text: str) -> Iterator[str]:
        """Clone the template and apply a function's file, as the migration does."""
        opened = self._ground.database()
        name = self._runner.run(opened.__aenter__())
        try:
            self._runner.run(self._apply(name, text))
            yield name
        finally:
            self._runner.run(opened.__aexit__(None, None, None))

    async def _apply(self, name: str, text: str) -> None:
        connection = await asyncpg.connect(self._ground.servers.admin_url(name))
        try:
            await connection.execute(text)
        finally:
            await connection.close()

    def trial(self, mutant: Mutant, name: str, known: str | None) -> Iterator[Outcome | None]:
        """Run the killer of record, the tests that know the function, then all the others."""
        began = time.monotonic()
        environment = {
            "EXCHEQUER_TEST_DATABASE_URL": self._ground.servers.postgres,
            "EXCHEQUER_TEST_REDIS_URL": self._ground.servers.redis,
            "EXCHEQUER_TEST_TEMPLATE": name,
        }
        rounds = [mutant.tests()] if self._only_own else [mutant.tests(), mutant.other_tests()]
        if known and Path(record.ROOT / known.split("::", maxsplit=1)[0]).exists():
            rounds.insert(0, [known])
        for tests in rounds:
            answer = self._folder / f"{name}.json"
            answer.unlink(missing_ok=True)
            pid = start(tests, environment, answer)
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() - began > self._seconds_each:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    yield Outcome(None, f"nobody noticed within {self._seconds_each} s")
                    return
                yield None
            if not answer.exists():
                log = answer.with_suffix(".log")
                yield Outcome(None, f"the tests did not run: {log.read_text()[-300:]}")
                return
            told = json.loads(answer.read_text(encoding="utf-8"))
            seconds = round(time.monotonic() - began, 1)
            if told["killer"]:
                kill = Kill(told["killer"], seconds, told["told"])
                yield Outcome(kill if told["is_sound"] else None, f"it is no SQL: {told['told']}")
                return
            if told["code"] >= ERROR_OF_PYTEST and tests != [known]:
                yield Outcome(None, f"pytest ended with {told['code']}")
                return
        yield Outcome(None, "no test noticed")

    def lane(
        self, todo: list[Mutant], known: record.Record
    ) -> Iterator[tuple[Mutant, Outcome] | None]:
        """Try mutants one after the other for as long as there are any."""
        while todo:
            mutant = todo.pop(0)
            killer = known.get(mutant.file, {}).get(mutant.name)
            try:
                with self.clone(mutant.mutated()) as name:
                    for outcome in self.trial(mutant, name, killer.killer if killer else None):
                        yield (mutant, outcome) if outcome else None
            except (asyncpg.PostgresError, ValueError) as error:
                yield mutant, Outcome(None, f"it does not apply: {error}")


def run(
    todo: list[Mutant],
    known: record.Record,
    budget: float,
    seconds_each: float = SECONDS,
    *,
    only_own: bool = False,
) -> dict[Mutant, Outcome]:
    """Try mutants, two at a time, until none is left or the time is up."""
    began = time.monotonic()
    done: dict[Mutant, Outcome] = {}
    _import_for_all()
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        opened = ground()
        started = runner.run(opened.__aenter__())
        laboratory = Laboratory(runner, started, Path(folder), seconds_each, only_own=only_own)
        try:
            waiting = list(todo)
            lanes = [laboratory.lane(waiting, known) for _ in range(LANES)]
            while lanes:
                for lane in list(lanes):
                    step = next(lane, ...)
                    if step is ...:
                        lanes.remove(lane)
                    elif step is not None:
                        done[step[0]] = step[1]
                        _tell(*step)
                if time.monotonic() - began > budget:
                    waiting.clear()
                time.sleep(POLL_SECONDS)
        finally:
            runner.run(opened.__aexit__(None, None, None))
    return done


def _import_for_all() -> None:
    """Import once what every child needs, and leave it where they share it."""
    for folder in ("functions", "races"):
        for path in sorted((record.ROOT / "tests" / folder).glob("*.py")):
            importlib.import_module(f"tests.{folder}.{path.stem}")
    gc.collect()
    gc.freeze()


def _tell(mutant: Mutant, outcome: Outcome) -> None:
    told = f"{outcome.kill.seconds} s {outcome.kill.killer}" if outcome.kill else outcome.told
    mark = "killed  " if outcome.kill else "SURVIVED"
    sys.stdout.write(f"{mark} {mutant}: {told}\n")
    sys.stdout.flush()


def judge(done: dict[Mutant, Outcome], seed: int, began: float) -> Verdict:
    """Return the verdict: survivors, of so many."""
    zero = Zero("survivors", len(done), "mutants")
    kills = [outcome.kill for outcome in done.values() if outcome.kill]
    for mutant, outcome in done.items():
        if outcome.kill is None:
            zero.happened(f"{mutant}: {mutant.means} ({outcome.told})")
    by = Counter(
        "audit" if kill.told.startswith("teardown") else kill.killer.split("/")[1] for kill in kills
    )
    figures = {
        "functions": len({mutant.file for mutant in done}),
        "slowest kill, seconds": max((kill.seconds for kill in kills), default=0.0),
        **{f"killed by {name}": count for name, count in by.items()},
    }
    return Verdict("mutants", seed, [zero], figures, began)


def main() -> None:
    """Try them, keep what was found, and fail if one survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.mutants", description=__doc__)
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help="such as settle")
    parser.add_argument("--only", help="the name of one mutant")
    parser.add_argument("--count", type=int, help="at most so many")
    parser.add_argument("--seed", type=int, default=0, help="nothing here is left to chance")
    parser.add_argument("--changed", action="store_true", help="what changed, then a sample")
    parser.add_argument("--seconds", type=float, default=100, help="for the sample")
    parser.add_argument("--missing", action="store_true", help="those without a kill of record")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds for all")
    parser.add_argument("--seconds-each", type=float, default=SECONDS, help="for one mutant")
    parser.add_argument("--keep", action="store_true", help="the record is kept, said or not")
    parser.add_argument("--own", action="store_true", help="only by tests that know the function")
    parser.add_argument("--nothing", metavar="FUNCTION", help="a mutant that changes nothing")
    chosen = parser.parse_args()
    table = mutants()
    if chosen.nothing:
        todo = [Mutant(chosen.nothing, "nothing", "returns", "/* the same */ returns", "none", 1)]
    else:
        todo = [
            mutant
            for mutant in table
            if (not chosen.functions or Path(mutant.file).stem in chosen.functions)
            and (not chosen.only or mutant.name == chosen.only)
        ]
    _, known = record.read()
    began = time.monotonic()
    figures: dict[str, object] = {}
    if chosen.changed:
        done, figures = _changed_and_sample(table, known, chosen.seconds, chosen.seconds_each)
    else:
        if chosen.missing:
            todo = [mutant for mutant in record.untried(table) if mutant in todo]
        done = run(
            todo[: chosen.count], known, chosen.budget, chosen.seconds_each, only_own=chosen.own
        )
    if not chosen.nothing and not chosen.changed and not chosen.own:
        _keep(table, done)
    verdict = judge(done, chosen.seed, began)
    verdict.figures.update(figures)
    raise SystemExit(verdict.finish())


def _changed_and_sample(
    table: list[Mutant], known: record.Record, seconds: float, seconds_each: float
) -> tuple[dict[Mutant, Outcome], dict[str, object]]:
    """Try what changed, and then as much of the rest as there is time for; say what of what.

    All of what the record does not know must be tried; of what git says changed, as much as
    there is time for, in an order that the commit decides.
    """
    unknown = record.changed(table)
    first = [mutant for mutant in table if mutant.file in unknown]
    began = time.monotonic()
    done = run(first, known, LIMIT_SECONDS, seconds_each) if first else {}
    if len(done) < len(first):
        untried = Outcome(None, f"not tried within {LIMIT_SECONDS} s: make mutants")
        return {mutant: done.get(mutant, untried) for mutant in first}, {}
    base = history.base()
    changed = set() if base is None else history.since(base, table) - done.keys()
    chance = Random(commit())
    todo, rest = [
        [mutant for mutant in table if mutant not in done and (mutant in changed) is is_changed]
        for is_changed in (True, False)
    ]
    chance.shuffle(todo)
    chance.shuffle(rest)
    left = LIMIT_SECONDS - (time.monotonic() - began)
    done |= run(todo, known, left, seconds_each) if todo else {}
    tried = sum(mutant in done for mutant in todo)
    left = min(seconds, LIMIT_SECONDS - (time.monotonic() - began))
    done |= run(rest, known, left, seconds_each) if left > 0 else {}
    return done, {
        "changed since": base or "nobody knows: there is no git, or not all of it",
        "of these tried": f"{tried} of {len(todo)}",
    }


def _keep(table: list[Mutant], done: dict[Mutant, Outcome]) -> None:
    kills: record.Record = {}
    for mutant, outcome in done.items():
        kills.setdefault(mutant.file, {})
        if outcome.kill:
            kills[mutant.file][mutant.name] = outcome.kill
    record.write(table, kills)
    report.write()


if __name__ == "__main__":
    main()
