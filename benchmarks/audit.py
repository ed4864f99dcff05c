"""What an audit costs for each million ledger rows, in full and since the last one.

One database with a million ledger rows: 1,000 accounts with 800 each, copied from books that
the functions wrote, and one hot account with 200,000. Audited in full, which marks every
account. Then, each round: new work on a tenth of the accounts and on the hot one; the audit
since the last one; again, with nothing new; and as control the audit in full. All of them
vouch for the whole ledger, and are told in rows of it.

    make bench B=audit
"""

import argparse
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop

from app.core.telemetry import configure_logging
from app.credits import Credits
from benchmarks import report
from benchmarks.books import Books, account, copies, opened, patient, sizes
from benchmarks.figures import Figure, Round, kept, marks, table
from benchmarks.harness import RESULTS, observed, process_seconds
from benchmarks.marks import verdict
from benchmarks.sets import reserve_request, settle_request
from benchmarks.work import Work

FIGURES = (
    Figure("since the last", "full", must=10.0, aim=50.0),
    Figure("nothing new", "full", must=100.0, aim=1_000.0),
)
MILLION = 1_000_000
_SET = 250


@dataclass(frozen=True)
class Plan:
    """How many ledger rows of what, and how many are new in each round."""

    accounts: int
    rows: int
    hot_rows: int
    moved: int
    new_rows: int
    new_hot_rows: int
    rounds: int


FULL = Plan(1_000, 800, 200_000, moved=100, new_rows=10, new_hot_rows=9_000, rounds=5)
# To see that it works; its figures say nothing.
QUICK = Plan(20, 10, 100, moved=2, new_rows=1, new_hot_rows=10, rounds=1)


async def measure(plan: Plan) -> tuple[list[Round], dict[str, Any]]:
    """Write the books, audit them in full, take the rounds."""
    async with opened() as books:
        credits = Credits(books.database)
        began = time.monotonic()
        hot = await account(books, "Hot")
        await spend(credits, hot, plan.hot_rows)
        template = await account(books, "Template")
        await spend(credits, template, plan.rows)
        accounts = await copies(books, template, plan.accounts)
        written = await sizes(books)
        loaded = {"load_seconds": round(time.monotonic() - began, 1), **written}
        print(loaded, flush=True)
        first = await audited(books, since_last=False)
        print(told("full, the first", first), flush=True)
        rounds: list[Round] = []
        for number in range(plan.rounds):
            begin = number * plan.moved % plan.accounts
            for each in accounts[begin : begin + plan.moved]:
                await spend(credits, each, plan.new_rows)
            await spend(credits, hot, plan.new_hot_rows)
            taken: Round = {}
            for name, since_last in (
                ("since the last", True),
                ("nothing new", True),
                ("full", False),
            ):
                taken[name] = work = await audited(books, since_last=since_last)
                print(told(name, work), flush=True)
            rounds.append(taken)
        return rounds, {"loaded": loaded, "first": asdict(first), "after": await sizes(books)}


async def spend(credits: Credits, account_id: UUID, rows: int) -> None:
    """Write so many ledger rows: reserve and settle in sets."""
    while rows > 0:
        size = min(rows, _SET)
        reserved = await credits.reserve_set(account_id, [reserve_request() for _ in range(size)])
        await credits.settle_set(
            account_id, [settle_request(each.reservation_id) for each in reserved]
        )
        rows -= size


async def audited(books: Books, *, since_last: bool) -> Work:
    """Audit all accounts; raise what is found."""
    there = (await sizes(books))["ledger_rows"]
    async with patient(books) as credits:
        used, server = process_seconds(os.getpid()), books.cpu_seconds()
        began = time.perf_counter()
        async for page in credits.audit_pages(since_last=since_last):
            if page.findings:
                raise RuntimeError(f"the books are wrong: {page.findings[:5]}")
        return Work(
            there,
            time.perf_counter() - began,
            process_seconds(os.getpid()) - used,
            books.cpu_seconds() - server,
        )


def told(name: str, work: Work) -> str:
    """Return what one audit cost for each million ledger rows."""
    return (
        f"{name}: {work.seconds * MILLION / work.operations:.2f} s and"
        f" {work.postgres_us:.2f} s of Postgres' processor a million ledger rows"
    )


async def run(plan: Plan) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = observed()
    rounds, about = await measure(plan)
    print(table(FIGURES, rounds))
    print(verdict(marks(FIGURES, rounds)))
    raw = {"machine": before, "load_after": os.getloadavg(), "plan": asdict(plan)}
    measured = {"figures": [asdict(each) for each in FIGURES], "rounds": kept(rounds)}
    return {**raw, **about, **measured}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--output", type=Path, default=RESULTS / "audit.json")
    arguments = parser.parse_args()
    configure_logging("warning", json=False)
    raw = uvloop.run(run(QUICK if arguments.quick else FULL))
    if not arguments.quick:
        report.publish("audit", arguments.output, raw)


if __name__ == "__main__":
    main()
