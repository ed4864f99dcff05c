"""Whether a reserve stays as quick with ten million ledger rows as it is with ten thousand.

Two databases in one server: 1,000 accounts and 10,000 ledger rows, and 1,000,000 accounts and
10,000,000 ledger rows, each account with three grants and with seven calls that were
reserved, settled and recorded. One caller, a bare connection to each, an account at random each
time; one reserve here, one there, and so on. The accounts' rows are those that the functions
wrote for one of them, copied.

Of a million accounts nearly each is met for the first time since they were loaded, and its rows
are no longer in Postgres' memory. So each round goes over its accounts twice: as they come, and
again, when they have just been there.

    make bench B=large

It takes 10 GB of disk.
"""

import argparse
import os
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from app.core.telemetry import configure_logging
from benchmarks import report
from benchmarks.books import account, copies, kept_in, prove, serving, sizes
from benchmarks.callers import each_of, in_turn, reserver
from benchmarks.figures import Figure, Round, kept, marks, table
from benchmarks.harness import RESULTS, observed, require_disk
from benchmarks.marks import demand, verdict

FIGURES = (
    Figure("large", "small", must=1.2, aim=1.05, at_most=True),
    Figure("large-again", "small-again", must=1.2, aim=1.05, at_most=True),
)
SETTLES = 7
_GIGABYTES = 10
_AUDITED = 20


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    small: int
    large: int
    rounds: int
    samples: int
    seed: int = 7


FULL = Plan(small=1_000, large=1_000_000, rounds=7, samples=2_000)
# To see that it works; its figures say nothing.
QUICK = Plan(small=10, large=100, rounds=1, samples=20)


async def measure(plan: Plan) -> tuple[list[Round], dict[str, Any]]:
    """Load both, take the rounds, audit a few accounts of each."""
    chance = random.Random(plan.seed)  # noqa: S311  # reproducible on purpose
    async with (
        serving() as server,
        kept_in(server, "small") as small,
        kept_in(server, "large") as large,
    ):
        began = time.monotonic()
        accounts = {}
        for books, count in ((small, plan.small), (large, plan.large)):
            template = await account(books, "Template", settles=SETTLES)
            accounts[books.name] = await copies(books, template, count)
        loaded = {
            "load_seconds": time.monotonic() - began,
            **{books.name: await sizes(books) for books in (small, large)},
        }
        print(loaded, flush=True)
        rounds: list[Round] = []
        async with small.connection() as one, large.connection() as other:
            in_small, in_large = await reserver(one), await reserver(other)
            for number in range(plan.rounds + 1):
                drawn = [chance.choices(every, k=plan.samples) for every in accounts.values()]
                taken: Round = {}
                for again in ("", "-again"):
                    taken[f"small{again}"], taken[f"large{again}"] = await in_turn(
                        each_of(in_small, drawn[0]), each_of(in_large, drawn[1]), plan.samples
                    )
                # The first warms up.
                if number:
                    rounds.append(taken)
        for books in (small, large):
            await prove(books, chance.sample(accounts[books.name], min(_AUDITED, plan.small)))
    return rounds, loaded


async def run(plan: Plan) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = observed()
    rounds, loaded = await measure(plan)
    print(table(FIGURES, rounds))
    print(verdict(marks(FIGURES, rounds)))
    raw = {"machine": before, "load_after": os.getloadavg(), "plan": asdict(plan)}
    measured = {"figures": [asdict(each) for each in FIGURES], "rounds": kept(rounds)}
    return {**raw, "loaded": loaded, **measured}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--accounts", type=int, help="Of the large one; only a million is kept.")
    parser.add_argument("--output", type=Path, default=RESULTS / "large.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    plan = replace(plan, large=arguments.accounts or plan.large)
    configure_logging("warning", json=False)
    if not arguments.quick:
        require_disk(_GIGABYTES)
    raw = uvloop.run(run(plan))
    if plan == FULL:
        report.publish("large", arguments.output, raw)
    elif not arguments.quick:
        demand(report.marks("large", raw))


if __name__ == "__main__":
    main()
