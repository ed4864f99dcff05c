"""What moving credits costs: reserves and settles against bare updates, durable both.

The SQL functions whole, in sets of at most 256 as a batcher sends them, and `Credits` with 512
concurrent callers in one process; on one hot account, and spread over 10,000. The control is
pgbench, which updates single rows with 16 clients. Every run has its control beside it, in
turn; the median of the rounds' ratios. Afterwards the operations that were acknowledged are
counted in the books, and the books are audited.

    make bench B=credits
"""

import argparse
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop

from app.core.telemetry import configure_logging
from benchmarks import pgbench, report
from benchmarks.books import ENOUGH, Books, account, copies, opened, operations_of, prove
from benchmarks.callers import alone, concurrent, refusals
from benchmarks.figures import Figure, Round, Taken, kept, marks, table
from benchmarks.functions import self_times
from benchmarks.harness import RESULTS, observed
from benchmarks.marks import demand, verdict
from benchmarks.sets import Sets
from benchmarks.work import Work

FIGURES = (
    Figure("sets-spread", "pgbench spread", must=1.0, aim=2.0),
    Figure("sets-hot", "pgbench hot", must=7.0, aim=20.0),
    Figure("credits-spread", "sets-spread", must=0.6, aim=0.9),
    Figure("credits-hot", "sets-hot", must=0.6, aim=0.9),
    Figure("latency", "bare asyncpg", must=1.3, aim=1.1, at_most=True),
    Figure("refused", "accepted", must=1.0, aim=3.0),
    # Whether the shared lanes cost those who have no credits anything.
    Figure("refused-credits", "refused without lanes", must=0.9, aim=1.0),
)
_PROFILED = ("sets-spread", "sets-hot")


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    rounds: int
    seconds: int
    accounts: int
    callers: int
    samples: int
    audited: int
    warm_ups: int = 1
    seed: int = 7


FULL = Plan(rounds=7, seconds=8, accounts=10_000, callers=512, samples=500, audited=200)
# To see that it works; its figures say nothing.
QUICK = Plan(rounds=1, seconds=1, accounts=100, callers=32, samples=10, audited=5, warm_ups=0)
Run = Callable[[], Awaitable[Work]]


class Bench:
    """The accounts that are measured with, and a round of all."""

    def __init__(self, books: Books, plan: Plan) -> None:
        self._books = books
        self._plan = plan
        self._spread: list[UUID] = []
        self._acknowledged = 0

    async def prepare(self) -> None:
        """Make the accounts; each with what no run can spend, but for one."""
        template = await account(self._books, "Template", settles=3)
        self._spread = await copies(self._books, template, self._plan.accounts)
        self._hot = await account(self._books, "Hot")
        self._open = await account(self._books, "Open")
        self._alone = await account(self._books, "Alone")
        self._poor = await account(self._books, "Poor", amount=0)
        self._poors = await copies(self._books, self._poor, max(2, self._plan.accounts // 10))
        self._acknowledged = await operations_of(self._books, self._counted)
        await pgbench.prepare(self._books)

    @property
    def _counted(self) -> list[UUID]:
        return [*self._spread, self._hot, self._open, self._alone]

    async def round(self, number: int) -> Round:
        """Take every figure and its control once."""
        books, plan = self._books, self._plan
        seconds, seed = plan.seconds, plan.seed + number
        # As autovacuum does within a minute.
        await books.admin.execute("analyze")
        async with Sets(books, seed) as sets:
            runs: dict[str, Run] = {
                "pgbench spread": lambda: pgbench.updates(books, pgbench.ROWS, seconds),
                "sets-spread": lambda: sets.spread(self._spread, seconds),
                "credits-spread": lambda: concurrent(
                    books, self._spread, seconds, seed, plan.callers
                ),
                "pgbench hot": lambda: pgbench.updates(books, 1, seconds),
                "sets-hot": lambda: sets.hot(self._hot, seconds),
                "credits-hot": lambda: concurrent(books, [self._hot], seconds, seed, plan.callers),
                "accepted": lambda: sets.reserves(self._open, seconds),
                "refused": lambda: sets.reserves(
                    self._poor, seconds, ENOUGH, "INSUFFICIENT_CREDITS"
                ),
                "refused-credits": lambda: refusals(books, self._poors, seconds, seed),
                "refused without lanes": lambda: refusals(
                    books, self._poors, seconds, seed, shared_lanes=0
                ),
            }
            taken: dict[str, Taken] = {}
            for name, run in runs.items():
                work = taken[name] = await run()
                if "pgbench" not in name and "refused" not in name:
                    self._acknowledged += work.operations
        taken["latency"], taken["bare asyncpg"] = await alone(books, self._alone, plan.samples)
        self._acknowledged += 2 * plan.samples
        return taken

    async def rounds(self) -> list[Round]:
        """Take the rounds, after one that warms up; then see that the books tell the same."""
        runs = self._plan.rounds + self._plan.warm_ups
        taken = [await self.round(number) for number in range(runs)]
        await self.check()
        return taken[self._plan.warm_ups :]

    async def check(self) -> None:
        """Raise unless the books hold what was acknowledged, and are right."""
        there = await operations_of(self._books, self._counted)
        if there != self._acknowledged:
            raise RuntimeError(f"{self._acknowledged} operations acknowledged, {there} are there")
        if refused := await operations_of(self._books, [self._poor, *self._poors]):
            raise RuntimeError(f"{refused} operations of accounts without credits are there")
        sample = self._spread[: self._plan.audited]
        await prove(self._books, [self._hot, self._open, self._alone, self._poor, *sample])
        print(f"{there:,} operations are there; {len(sample) + 4} accounts audited, no finding")

    async def profile(self) -> str:
        """Return what the SQL functions spend their time on, for each kind of set."""
        lines = []
        for name in _PROFILED:
            await self._load(name)
            work = await self._load(name)
            lines.append(f"{name}: {work.rate:,.0f}/s, Postgres' CPU {work.postgres_us:.1f} µs")
            lines.append(await self_times(self._books, work.operations))
        return "\n".join(lines)

    async def _load(self, name: str) -> Work:
        await self._books.admin.execute("analyze")
        await self._books.admin.execute("select pg_stat_reset()")
        # What a session counted is told when it ends.
        async with Sets(self._books, self._plan.seed) as sets:
            if name == "sets-spread":
                return await sets.spread(self._spread, self._plan.seconds)
            return await sets.hot(self._hot, self._plan.seconds)


async def run(plan: Plan) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = observed()
    async with opened() as books:
        bench = Bench(books, plan)
        await bench.prepare()
        rounds = await bench.rounds()
    print(table(FIGURES, rounds))
    print(verdict(marks(FIGURES, rounds)))
    raw = {"machine": before, "load_after": os.getloadavg(), "plan": asdict(plan)}
    return {**raw, "figures": [asdict(each) for each in FIGURES], "rounds": kept(rounds)}


async def look(plan: Plan) -> str:
    """Profile by function."""
    async with opened({"track_functions": "all"}) as books:
        bench = Bench(books, plan)
        await bench.prepare()
        return await bench.profile()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--rounds", type=int, help="Rounds that count; only all of them are kept.")
    parser.add_argument("--seconds", type=int, help="Of each run; as above.")
    parser.add_argument("--profile", action="store_true", help="Print the time of each function.")
    parser.add_argument("--output", type=Path, default=RESULTS / "credits.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    plan = replace(
        plan,
        rounds=arguments.rounds or plan.rounds,
        seconds=arguments.seconds or plan.seconds,
    )
    configure_logging("warning", json=False)
    if arguments.profile:
        print(uvloop.run(look(plan)))
        return
    raw = uvloop.run(run(plan))
    if plan == FULL:
        report.publish("credits", arguments.output, raw)
    elif not arguments.quick:
        demand(report.marks("credits", raw))


if __name__ == "__main__":
    main()
