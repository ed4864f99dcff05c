"""Made traces of the shape that production traffic has."""

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Five and a half calls a second, as an hour of a conversation service was recorded.
_SECONDS_BETWEEN = 0.18
_CONTEXT = (1020, 0.85, 2, 14_050)
_GENERATED = (129, 0.76, 7, 1_000)
_FIRST = datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC)


def write_trace(path: Path, calls: int = 300, seed: int = 7) -> Path:
    """Write a trace: arrivals at random, sizes log-normal within what was recorded."""
    chance = random.Random(seed)
    at = _FIRST
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for _ in range(calls):
        # Seven decimals and no offset, as published.
        stamp = f"{at:%Y-%m-%d %H:%M:%S.%f}0"
        lines.append(f"{stamp},{_size(chance, *_CONTEXT)},{_size(chance, *_GENERATED)}")
        at += timedelta(seconds=chance.expovariate(1 / _SECONDS_BETWEEN))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _size(chance: random.Random, median: int, spread: float, least: int, most: int) -> int:
    return min(most, max(least, round(chance.lognormvariate(math.log(median), spread))))
