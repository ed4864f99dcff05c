"""What a ratio must be, and whether it is: the gate of every benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass

TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Mark:
    """A ratio that was measured, and what it must be."""

    name: str
    ratio: float
    must: float
    # Of waits and sizes; throughput is to be at least so much.
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the ratio is where it must be."""
        return self.ratio <= self.must if self.at_most else self.ratio >= self.must

    @property
    def sign(self) -> str:
        """How the mark is to be read."""
        return "≤" if self.at_most else "≥"

    def told(self) -> str:
        """Return it in words."""
        reached = "reached" if self.reached else "not reached"
        must = f"must be {self.sign} {self.must:g} ({reached})"
        return f"{self.name} {TIMES}{self.ratio:.2f}, {must}"


def missed(marks: Sequence[Mark]) -> list[str]:
    """Return the names of those that are not reached."""
    return [mark.name for mark in marks if not mark.reached]


def demand(marks: Sequence[Mark]) -> None:
    """End with 1, and with what is missed, if anything is."""
    if missed(marks):
        raise SystemExit(verdict(marks))


def verdict(marks: Sequence[Mark]) -> str:
    """Return what is missed, in a line."""
    names = missed(marks)
    return f"not reached: {', '.join(names)}" if names else "all reached"
