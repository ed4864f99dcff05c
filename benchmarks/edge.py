"""What GraphQL costs: CPU of the server process, against what one writes by hand.

Over HTTP: trusted documents, and the same as free text, against plain FastAPI routes with the
same statements, pool and authentication (benchmarks/plain_rest.py). A fixed number of requests
a round over keep-alive connections; variants and control in turn; the median of the rounds'
ratios. Real servers (Postgres durable), one process each, default settings.

    make bench B=edge
"""

import argparse
import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.core.servers.local import free_port
from benchmarks.accounts import make_accounts
from benchmarks.harness import RESULTS, installed, keep, listening, machine
from benchmarks.requests import Ends, Row, check
from benchmarks.rounds import Round, alternate, kept, table

GOALS = {
    ("creditBalance", "trusted"): 1.0,
    ("creditBalance", "free text"): 2.0,
    ("creditTransactions(first: 50)", "trusted"): 1.0,
    ("creditTransactions(first: 50)", "free text"): 5.0,
    ("reserveCredits", "trusted"): 1.5,
}
ROWS = {
    "balance": "creditBalance",
    "transactions": "creditTransactions(first: 50)",
    "reserve": "reserveCredits",
}


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    pairs: int
    connections: int
    requests: dict[str, int]


FULL = Plan(7, 16, {"balance": 5_000, "transactions": 1_500, "reserve": 3_000})
# To see that it works; its figures say nothing.
QUICK = Plan(1, 4, {"balance": 40, "transactions": 20, "reserve": 20})


async def measure(plan: Plan, names: list[str]) -> dict[str, list[Round]]:
    """Start everything, see that all tell the same, and take the rounds."""
    taken: dict[str, list[Round]] = {}
    async with installed() as served:
        accounts = await make_accounts(served)
        port = free_port()
        environment = {**served.environment, "PORT": str(port)}
        async with listening(("benchmarks.plain_rest",), environment) as plain:
            ends = Ends(served, accounts, port, plain.pid)
            await check(ends)
            makers: dict[str, Callable[[str], Row]] = {
                "balance": lambda _: ends.balance(),
                "transactions": lambda _: ends.transactions(),
                "reserve": ends.reserve,
            }
            for name in names:
                taken[ROWS[name]] = await alternate(
                    makers[name],
                    requests=plan.requests[name],
                    connections=plan.connections,
                    pairs=plan.pairs,
                )
    return taken


async def run(plan: Plan, names: list[str]) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = machine()
    taken = await measure(plan, names)
    print(table(taken, GOALS))
    return {
        "machine": before,
        "load_after": os.getloadavg(),
        "plan": asdict(plan),
        "rounds": {name: kept(rounds) for name, rounds in taken.items()},
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--row", action="append", choices=[*ROWS], help="Only this one; again.")
    parser.add_argument("--pairs", type=int, help="Rounds that count.")
    parser.add_argument("--output", type=Path, default=RESULTS / "edge.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    if arguments.pairs:
        plan = Plan(arguments.pairs, plan.connections, plan.requests)
    raw = asyncio.run(run(plan, arguments.row or [*ROWS]))
    if not arguments.quick and not arguments.row:
        keep(arguments.output, raw)


if __name__ == "__main__":
    main()
