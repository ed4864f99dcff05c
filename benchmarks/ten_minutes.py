"""Whether one hot account is as quick after ten minutes as at first, and whether bloat is bounded.

Sets of 256 reserves and their settles, without pause; nothing is vacuumed or analyzed but by
autovacuum with its default settings. Each minute: throughput, sizes, dead rows.

    make bench B=ten_minutes

It takes 8 GB of disk.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from app.core.telemetry import configure_logging
from benchmarks import report
from benchmarks.books import Books, account, opened, operations_of, prove
from benchmarks.harness import RESULTS, observed, require_disk
from benchmarks.marks import verdict
from benchmarks.minutes import TABLES, Minute, head, marks, told
from benchmarks.sets import Sets

_SLICES = 6
_GIGABYTES = 8


async def measure(minutes: int, seconds: float) -> list[Minute]:
    """Load one account for so many minutes of six slices each; look at it after each."""
    taken: list[Minute] = []
    async with opened() as books:
        hot = await account(books, "Hot")
        async with Sets(books, 0) as sets:
            for _ in range(minutes):
                slices = [await sets.hot(hot, seconds) for _ in range(_SLICES)]
                taken.append(Minute(slices, await _tables(books)))
                print(taken[-1].line(len(taken)), flush=True)
        acknowledged = sum(each.operations for minute in taken for each in minute.slices)
        there = await operations_of(books, [hot])
        if there != acknowledged:
            raise RuntimeError(f"{acknowledged} operations acknowledged, {there} are there")
        await prove(books, [hot])
        print(f"{there:,} operations are there; the account is audited, no finding")
    return taken


async def _tables(books: Books) -> dict[str, dict[str, int]]:
    # A session that rests tells of all it did.
    rows = await books.admin.fetch(
        "select s.relname, pg_table_size(s.relid) as bytes, pg_indexes_size(s.relid) as indexes,"
        " s.n_live_tup as live, s.n_dead_tup as dead, s.autovacuum_count as vacuums"
        " from pg_stat_user_tables as s where s.schemaname = 'credits' and s.relname = any($1)",
        TABLES,
    )
    return {row["relname"]: dict(row.items()) for row in rows}


async def run(minutes: int, seconds: float) -> dict[str, Any]:
    """Measure, print; return the raw figures."""
    before = observed()
    print(head())
    taken = await measure(minutes, seconds)
    print(told(taken))
    print(verdict(marks(taken)))
    return {
        "machine": before,
        "load_after": os.getloadavg(),
        "minutes": [asdict(minute) for minute in taken],
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A smoke run; nothing is written.")
    parser.add_argument("--output", type=Path, default=RESULTS / "ten_minutes.json")
    arguments = parser.parse_args()
    configure_logging("warning", json=False)
    if not arguments.quick:
        require_disk(_GIGABYTES)
    seconds = 0.2 if arguments.quick else 60 / _SLICES
    raw = uvloop.run(run(2 if arguments.quick else 10, seconds))
    if arguments.quick:
        return
    report.publish("ten_minutes", arguments.output, raw)


if __name__ == "__main__":
    main()
