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
# What the last minute is to be of the first: throughput at least, sizes at most.
MUST = 0.9
_MUST_STEADY = 4.0
_MUST_GROWING = 1.25


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
    """Return what the last minute is of the first, beside what it must be."""
    first, last = minutes[0], minutes[-1]
    return [
        Mark("throughput", last.rate / first.rate, MUST),
        *(
            Mark(
                f"bytes of a row of {name}" if name in _GROWING else f"size of {name}",
                last.size(name) / first.size(name),
                _MUST_GROWING if name in _GROWING else _MUST_STEADY,
                at_most=True,
            )
            for name in (*_STEADY, *_GROWING)
        ),
    ]


def told(minutes: Sequence[Minute]) -> str:
    """Return what the last is of the first."""
    return f"The last minute to the first: {'; '.join(mark.told() for mark in marks(minutes))}."


def table(minutes: Sequence[Minute]) -> str:
    """Return all of it, as on the page."""
    lines = [minute.line(number) for number, minute in enumerate(minutes, 1)]
    return "\n".join([head(), *lines, "", told(minutes)])


def read(raw: Sequence[Mapping[str, Any]]) -> list[Minute]:
    """Return minutes that were written down."""
    return [Minute([Work(**each) for each in one["slices"]], one["tables"]) for one in raw]
