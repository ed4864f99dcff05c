"""Figures that are ratios to a control, with what they must reach and what we aim for."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.callers import Wait
from benchmarks.work import Work

TIMES = "\N{MULTIPLICATION SIGN}"
Taken = Work | Wait
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

    def reached(self, rounds: Sequence[Round]) -> bool:
        """Whether the ratio is where it must be."""
        ratio = self.ratio(rounds)
        return ratio <= self.must if self.at_most else ratio >= self.must

    @property
    def sign(self) -> str:
        """How the marks are to be read."""
        return "≤" if self.at_most else "≥"


def _value(taken: Taken) -> float:
    return taken.rate if isinstance(taken, Work) else taken.median_ms


def table(figures: Sequence[Figure], rounds: Sequence[Round]) -> str:
    """Return the figures as the table of RESULTS.md."""
    head = (
        "| | per second, or ms | control | median of ratios | must | aim | CPU of one, µs:"
        " Postgres | control | client | control |"
    )
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for figure in figures:
        both = (figure.name, figure.control)
        cells = [_shown([_value(taken[name]) for taken in rounds]) for name in both]
        cells.append(f"{TIMES}{figure.ratio(rounds):.2f}")
        cells += [f"{figure.sign} {mark:g}" for mark in (figure.must, figure.aim)]
        for side in ("postgres_us", "client_us"):
            cells += [
                _shown([getattr(taken[name], side) for taken in rounds])
                if isinstance(rounds[0][name], Work)
                else "-"
                for name in both
            ]
        lines.append("| " + " | ".join([f"{figure.name}, to {figure.control}", *cells]) + " |")
    return "\n".join(lines)


def verdict(figures: Sequence[Figure], rounds: Sequence[Round]) -> str:
    """Return what is missed, in a line."""
    missed = [figure.name for figure in figures if not figure.reached(rounds)]
    return f"not reached: {', '.join(missed)}" if missed else "all reached"


def kept(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return rounds as they are written down."""
    return [{name: asdict(taken) for name, taken in each.items()} for each in rounds]


def read(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Round]:
    """Return rounds that were written down."""
    return [
        {name: (Work if "operations" in raw else Wait)(**raw) for name, raw in each.items()}
        for each in rounds
    ]


def _shown(values: list[float]) -> str:
    value = statistics.median(values)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits
