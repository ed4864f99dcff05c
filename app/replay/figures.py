"""Amounts as the contract writes them, and times in a bounded memory."""

import math
from collections import Counter

_CREDIT = 1_000_000


def show_credits(microcredits: int) -> str:
    """Return micro-credits as the decimal string that `Credits` is."""
    whole, part = divmod(abs(microcredits), _CREDIT)
    return f"{'-' if microcredits < 0 else ''}{whole}.{part:06d}"


def read_credits(text: str) -> int:
    """Return a decimal string of `Credits` as micro-credits."""
    whole, _, part = text.lstrip("-").partition(".")
    microcredits = int(whole) * _CREDIT + int(part.ljust(6, "0"))
    return -microcredits if text.startswith("-") else microcredits


class Times:
    """Seconds, counted in buckets 1 % wide: any number of them takes the same memory.

    A percentile is the upper edge of its bucket, so at most 1 % too high; the largest
    is exact.
    """

    _WIDTH = math.log(1.01)
    _LEAST = 1e-6

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, self._LEAST)) / self._WIDTH)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def percentile(self, percent: int) -> float:
        """Return the time below which so many per cent lie; zero if there are none."""
        wanted = math.ceil(self.count * percent / 100)
        for bucket in sorted(self._buckets):
            wanted -= self._buckets[bucket]
            if wanted <= 0:
                return min(self.largest, math.exp(bucket * self._WIDTH))
        return 0.0

    def milliseconds(self) -> dict[str, float]:
        """Return what a summary tells."""
        return {
            "p50": round(self.percentile(50) * 1000, 2),
            "p95": round(self.percentile(95) * 1000, 2),
            "p99": round(self.percentile(99) * 1000, 2),
            "max": round(self.largest * 1000, 2),
        }
