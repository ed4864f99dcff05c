"""Minutes under one load, one after the other, and the table that comes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.marks import Mark
from benchmarks.work import Work

TABLES = ("accounts", "grants", "reservations", "transactions")
# One row of each is written again and again: what a minute leaves behind, autovacuum clears.
_STEADY = ("accounts", "grants")
# Each operation adds rows here, which are all there is to grow.
_GROWING = ("reservations", "transactions")
# Throughput is to be at least so much of the first minute's. Single minutes differ by a tenth
# (0.86 to 1.02 of the first), and a hot account that grows slower with its rows loses more.
MUST = 0.9
# A table of few rows is to be at most so many times what it was after the first minute. How long
# ago autovacuum came moves it by 2.4 (accounts: 536 to 1,272 KiB with indexes); with nothing
# cleared each minute leaves as much as the first, which are ten times after ten.
_MUST_STEADY = 4.0
# A row of a table that grows is to take at most so much of what it took after the third minute.
# Not of the first, at whose end autovacuum has not come yet and which is the fattest of all: 705
# bytes of a reservation, then 558 to 590, so that half as much again would go unseen.
_MUST_GROWING = 1.25
_SETTLED = 3


@dataclass(frozen=True)
class Minute:
    """What was done in each slice of it, and the tables at its end."""

    slices: list[Work]
    tables: dict[str, dict[str, Any]]

    @property
    def rate(self) -> float:
        """Operations a second."""
        return sum(each.operations for each in self.slices) / sum(
            each.seconds for each in self.slices
        )

    def size(self, table: str) -> float:
        """Return the bytes of a table and its indexes: of a row, where rows are added."""
        row = self.tables[table]
        whole: int = row["bytes"] + row["indexes"]
        return whole / row["live"] if table in _GROWING else whole

    def line(self, number: int) -> str:
        """Return it as a row."""
        operations = sum(each.operations for each in self.slices)
        cpu = sum(each.postgres_cpu for each in self.slices) / operations
        cells = [f"{number}", f"{self.rate:,.0f}", f"{cpu * 1e6:.1f}"]
        for name in TABLES:
            row = self.tables[name]
            size = f"{row['bytes'] / 1024:,.0f} + {row['indexes'] / 1024:,.0f} KiB"
            cells.append(f"{size}, {row['dead']:,} dead")
        return "| " + " | ".join(cells) + " |"


def head() -> str:
    """Return the first lines of the table."""
    row = "| minute | per second | Postgres' CPU of one, µs | " + " | ".join(TABLES) + " |"
    return f"{row}\n{'|---' * (row.count('|') - 1)}|"


def marks(minutes: Sequence[Minute]) -> list[Mark]:
    """Return what the last minute is of an early one, beside what it must be."""
    first, settled, last = minutes[0], minutes[:_SETTLED][-1], minutes[-1]
    steady = [(f"size of {name}", last.size(name) / first.size(name)) for name in _STEADY]
    growing = [
        (f"bytes of a row of {name}", last.size(name) / settled.size(name)) for name in _GROWING
    ]
    return [
        Mark("throughput", last.rate / first.rate, MUST),
        *(Mark(name, ratio, _MUST_STEADY, at_most=True) for name, ratio in steady),
        *(Mark(name, ratio, _MUST_GROWING, at_most=True) for name, ratio in growing),
    ]


def told(minutes: Sequence[Minute]) -> str:
    """Return what the last is of an early one."""
    shown = "; ".join(mark.told() for mark in marks(minutes))
    return f"The last minute to the first, in bytes of a row to the third: {shown}."


def table(minutes: Sequence[Minute]) -> str:
    """Return all of it, as on the page."""
    lines = [minute.line(number) for number, minute in enumerate(minutes, 1)]
    return "\n".join([head(), *lines, "", told(minutes)])


def read(raw: Sequence[Mapping[str, Any]]) -> list[Minute]:
    """Return minutes that were written down."""
    return [Minute([Work(**each) for each in one["slices"]], one["tables"]) for one in raw]
