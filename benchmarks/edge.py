"""What GraphQL costs: CPU of the server process, against what one writes by hand.

Over HTTP: trusted documents, and the same as free text, against plain FastAPI routes with the
same statements, pool and authentication (benchmarks/plain_rest.py). A fixed number of requests
a round over keep-alive connections. Over WebSocket: what one delivered message costs where a
thousand watch one account, against a bare server that writes the same bytes
(benchmarks/plain_push.py).

Variants and control in turn; the median of the rounds' ratios. Real servers (Postgres
durable), one process each, default settings.

    make bench B=edge
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from app.core.servers.local import free_port
from app.core.telemetry import configure_logging
from benchmarks.accounts import make_accounts
from benchmarks.harness import RESULTS, installed, keep, listening, module, observed
from benchmarks.hotspots import profile
from benchmarks.push import push_rounds
from benchmarks.rounds import Round, alternate, kept, table
from benchmarks.sockets import allow_sockets
from benchmarks.targets import Ends, Row, check

GOALS = {
    ("creditBalance", "trusted"): 1.0,
    ("creditBalance", "free text"): 2.0,
    ("creditTransactions(first: 50)", "trusted"): 1.0,
    ("creditTransactions(first: 50)", "free text"): 5.0,
    ("reserveCredits", "trusted"): 1.5,
    ("creditBalanceUpdated, a message", "trusted"): 2.0,
}
ROWS = {
    "balance": "creditBalance",
    "transactions": "creditTransactions(first: 50)",
    "reserve": "reserveCredits",
    "push": "creditBalanceUpdated, a message",
}


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    pairs: int
    connections: int
    requests: dict[str, int]
    sockets: int
    ticks: int
    ledger_rows: int


FULL = Plan(
    pairs=7,
    connections=16,
    requests={"balance": 5_000, "transactions": 1_500, "reserve": 3_000},
    sockets=1_000,
    ticks=50,
    ledger_rows=240,
)
# To see that it works; its figures say nothing.
QUICK = Plan(
    pairs=1,
    connections=4,
    requests={"balance": 16, "transactions": 8, "reserve": 8},
    sockets=5,
    ticks=5,
    ledger_rows=60,
)


async def measure(plan: Plan, names: list[str]) -> dict[str, list[Round]]:
    """Start everything, see that all tell the same, and take the rounds."""
    taken: dict[str, list[Round]] = {}
    async with installed() as served:
        accounts = await make_accounts(served, plan.ledger_rows)
        port = free_port()
        environment = {**served.environment, "PORT": str(port)}
        async with listening(module("benchmarks.plain_rest"), environment) as plain:
            ends = Ends(served, accounts, port, plain.pid)
            await check(ends)
            makers: dict[str, Callable[[str], Row]] = {
                "balance": lambda _: ends.balance(),
                "transactions": lambda _: ends.transactions(),
                "reserve": ends.reserve,
            }
            for name in names:
                if name in makers:
                    taken[ROWS[name]] = await alternate(
                        makers[name],
                        requests=plan.requests[name],
                        connections=plan.connections,
                        pairs=plan.pairs,
                    )
        if "push" in names:
            taken[ROWS["push"]] = await push_rounds(
                served, accounts.hot, sockets=plan.sockets, ticks=plan.ticks, pairs=plan.pairs
            )
    return taken


async def run(plan: Plan, names: list[str]) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = observed()
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
    parser.add_argument(
        "--profile", choices=[*ROWS], help="Print where the API spends its time in a row."
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "edge.json")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    if arguments.pairs:
        plan = replace(plan, pairs=arguments.pairs)
    configure_logging("warning", json=False)
    allow_sockets(plan.sockets)
    if arguments.profile:
        print(
            uvloop.run(
                profile(
                    arguments.profile,
                    requests=plan.requests.get(arguments.profile, 0),
                    connections=plan.connections,
                    sockets=plan.sockets,
                    ticks=plan.ticks,
                )
            )
        )
        return
    raw = uvloop.run(run(plan, arguments.row or [*ROWS]))
    if not arguments.quick and not arguments.row:
        keep(arguments.output, raw)


if __name__ == "__main__":
    main()
