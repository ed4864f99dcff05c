"""Figures that are ratios to a control, with what they must reach and what we aim for."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.callers import Wait
from benchmarks.marks import TIMES, Mark
from benchmarks.work import Work

Taken = Work | Wait
NOT_REACHED = "**not reached**"
Round = dict[str, Taken]


@dataclass(frozen=True)
class Figure:
    """A measured thing, the one it is compared with, and the marks that its ratio is to pass."""

    name: str
    control: str
    must: float
    aim: float
    # Of waits; throughput is to be at least so much.
    at_most: bool = False

    def ratio_of(self, taken: Round) -> float:
        """Return the ratio in one round."""
        return _value(taken[self.name]) / _value(taken[self.control])

    def ratio(self, rounds: Sequence[Round]) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(map(self.ratio_of, rounds))

    def reached(self, rounds: Sequence[Round]) -> str:
        """Return which of the two marks is passed, for people."""
        if not self.mark(rounds).reached:
            return NOT_REACHED
        aimed = Mark(self.name, self.ratio(rounds), self.aim, self.at_most)
        return "must and aim" if aimed.reached else "must"

    def mark(self, rounds: Sequence[Round]) -> Mark:
        """Return what came of it beside what must."""
        return Mark(self.name, self.ratio(rounds), self.must, self.at_most)


def _value(taken: Taken) -> float:
    return taken.rate if isinstance(taken, Work) else taken.median_ms


def table(figures: Sequence[Figure], rounds: Sequence[Round]) -> str:
    """Return the figures as the table of RESULTS.md."""
    head = (
        "| | per second, or ms | control | median of ratios | must | aim | reached"
        " | CPU of one, µs: Postgres | control | client | control |"
    )
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for figure in figures:
        both = (figure.name, figure.control)
        cells = [shown([_value(taken[name]) for taken in rounds]) for name in both]
        mark = figure.mark(rounds)
        cells.append(f"{TIMES}{mark.ratio:.2f}")
        cells += [f"{mark.sign} {each:g}" for each in (figure.must, figure.aim)]
        cells.append(figure.reached(rounds))
        for side in ("postgres_us", "client_us"):
            cells += [
                shown([getattr(taken[name], side) for taken in rounds])
                if isinstance(rounds[0][name], Work)
                else "-"
                for name in both
            ]
        lines.append("| " + " | ".join([f"{figure.name}, to {figure.control}", *cells]) + " |")
    return "\n".join(lines)


def marks(figures: Sequence[Figure], rounds: Sequence[Round]) -> list[Mark]:
    """Return what came of all of them beside what must."""
    return [figure.mark(rounds) for figure in figures]


def kept(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return rounds as they are written down."""
    return [{name: asdict(taken) for name, taken in each.items()} for each in rounds]


def read(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Round]:
    """Return rounds that were written down."""
    return [
        {name: (Work if "operations" in raw else Wait)(**raw) for name, raw in each.items()}
        for each in rounds
    ]


def shown(values: Sequence[float]) -> str:
    """Return the median in three digits."""
    value = statistics.median(values)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits
