"""The table of `benchmarks.models`, and its marks."""

import statistics
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.figures import NOT_REACHED, shown
from benchmarks.load import Run
from benchmarks.marks import TIMES, Mark

# How many times as much Exchequer must do.
MUST: Final = {"OpenAI's protocol": 10.0, "through litellm": 3.0}
_BY = {"requests a second": "rate", "requests for the same CPU": "cpu_us"}


def _runs(raw: Mapping[str, Any], lane: str, who: str) -> list[Run]:
    return [Run(**taken[who]) for taken in raw["rounds"][lane]]


def _ratio(raw: Mapping[str, Any], lane: str, figure: str) -> float:
    """Return the median of the rounds' ratios: how many times as much."""
    pairs = zip(_runs(raw, lane, "exchequer"), _runs(raw, lane, "litellm"), strict=True)
    if figure == "rate":
        return statistics.median(ours.rate / theirs.rate for ours, theirs in pairs)
    return statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)


def marks(raw: Mapping[str, Any]) -> list[Mark]:
    """Return what came of it beside what must."""
    return [
        Mark(f"{lane}, {name}", _ratio(raw, lane, figure), must)
        for lane, must in MUST.items()
        for name, figure in _BY.items()
    ]


def table(raw: Mapping[str, Any]) -> str:
    """Return the tables of RESULTS.md."""
    head = "| | Exchequer | LiteLLM proxy | median of ratios | must | reached | p50, ms | proxy |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for lane in MUST:
        ours, theirs = (_runs(raw, lane, who) for who in ("exchequer", "litellm"))
        waits = [shown([run.p50_ms for run in runs]) for runs in (ours, theirs)]
        for mark, figure in zip(marks_of(raw, lane), _BY.values(), strict=True):
            cells = [shown([getattr(run, figure) for run in runs]) for runs in (ours, theirs)]
            unit = " µs of CPU each" if figure == "cpu_us" else ""
            told = [f"{cell}{unit}" for cell in cells]
            ratio = f"{TIMES}{mark.ratio:.1f}"
            reached = "must" if mark.reached else NOT_REACHED
            lines.append(
                f"| {mark.name} | {' | '.join(told)} | {ratio} | ≥ {mark.must:g} | {reached}"
                f" | {' | '.join(waits)} |"
            )
    waits_head = (
        "| a stream, one client, ms | to the first piece | p95 | added to it | to the end |"
    )
    lines += ["", waits_head, "|---" * (waits_head.count("|") - 1) + "|"]
    direct = [taken["directly"]["median_ms"] for taken in raw["first_piece"]]
    for who in ("directly", "exchequer", "litellm"):
        each = [taken[who] for taken in raw["first_piece"]]
        firsts = [wait["median_ms"] for wait in each]
        added = [first - base for first, base in zip(firsts, direct, strict=True)]
        cells = [
            shown(firsts),
            shown([wait["p95_ms"] for wait in each]),
            "-" if who == "directly" else shown(added),
            shown([wait["whole_ms"] for wait in each]),
        ]
        name = {"exchequer": "through Exchequer", "litellm": "through the proxy"}.get(who, who)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def marks_of(raw: Mapping[str, Any], lane: str) -> list[Mark]:
    """Return the marks of one lane."""
    return [mark for mark in marks(raw) if mark.name.startswith(f"{lane},")]
