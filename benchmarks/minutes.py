"""Minutes under one load, one after the other, and the table that comes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import TIMES
from benchmarks.work import Work

TABLES = ("accounts", "grants", "reservations", "transactions")
# What the last minute is to be of the first.
MUST = 0.9


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


def told(minutes: Sequence[Minute]) -> str:
    """Return what the last is of the first."""
    ratio = minutes[-1].rate / minutes[0].rate
    return f"The last minute to the first: {TIMES}{ratio:.2f}, must be ≥ {MUST:g}."


def table(minutes: Sequence[Minute]) -> str:
    """Return all of it, as on the page."""
    lines = [minute.line(number) for number, minute in enumerate(minutes, 1)]
    return "\n".join([head(), *lines, "", told(minutes)])


def read(raw: Sequence[Mapping[str, Any]]) -> list[Minute]:
    """Return minutes that were written down."""
    return [Minute([Work(**each) for each in one["slices"]], one["tables"]) for one in raw]
