"""Alternating rounds, and the table that comes of them."""

import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.load import Run, load
from benchmarks.targets import Row

CONTROL = "control"
Round = dict[str, Run]
_HEAD = (
    "| | CPU of one, µs | control, µs | ratio | goal | per second | control"
    " | p50, ms | control | p99, ms | control |"
)


async def alternate(
    row: Callable[[str], Row], *, requests: int, connections: int, pairs: int
) -> list[Round]:
    """Take turns: each variant, then the control, again and again; the first time to warm up."""
    rounds: list[Round] = []
    for number in range(pairs + 1):
        asked = row(str(number))
        taken = {
            name: await load(target, requests, connections)
            for name, target in (*asked.variants.items(), (CONTROL, asked.control))
        }
        if number:
            rounds.append(taken)
    return rounds


def kept(rounds: list[Round]) -> list[dict[str, Any]]:
    """Return rounds as they are written down."""
    return [{name: asdict(run) for name, run in taken.items()} for taken in rounds]


def read(rounds: list[dict[str, Any]]) -> list[Round]:
    """Return rounds as `kept` wrote them."""
    return [{name: Run(**run) for name, run in taken.items()} for taken in rounds]


def ratio(rounds: list[Round], variant: str) -> float:
    """Return the median, over the rounds, of a variant's CPU to its control's."""
    return statistics.median(taken[variant].cpu_us / taken[CONTROL].cpu_us for taken in rounds)


def table(rows: dict[str, list[Round]], goals: dict[tuple[str, str], float]) -> str:
    """Return the figures as the table of RESULTS.md."""
    lines = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"]
    for (name, variant), goal in goals.items():
        rounds = rows.get(name)
        if not rounds or variant not in rounds[0]:
            continue
        figures = [f"{ratio(rounds, variant):.2f}", f"≤ {goal:g}"]
        cells = [
            _median(rounds, who, figure)
            for figure in ("cpu_us", "rate", "p50_ms", "p99_ms")
            for who in (variant, CONTROL)
        ]
        lines.append(
            "| " + " | ".join([f"{name}, {variant}", *cells[:2], *figures, *cells[2:]]) + " |"
        )
    return "\n".join(lines)


def _median(rounds: list[Round], who: str, figure: str) -> str:
    value = statistics.median(getattr(taken[who], figure) for taken in rounds)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004  # three digits
