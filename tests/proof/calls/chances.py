"""Calls made by chance: how long, how told, how broken, and where who asked leaves."""

from dataclasses import dataclass
from random import Random

_USAGES = ("true", "true", "true", "true", "none", "zero", "twice", "growing")


@dataclass(frozen=True, slots=True)
class Chance:
    """One call."""

    key: str
    said: str
    is_stream: bool
    # After so many pieces; None hears it to its end.
    leaves_after: int | None = None
    usage: str = "true"
    fails: bool = False
    breaks: bool = False


def chance(seed: int, number: int) -> Chance:
    """Return the call of a number: the same seed makes the same."""
    dice = Random(f"{seed}-{number}")
    key = f"call-{number}"
    tokens, chunk = dice.randint(0, 60), dice.randint(1, 16)
    pieces = -(-tokens // chunk)
    is_stream = dice.random() < 0.6
    usage = dice.choice(_USAGES)
    words = [f"{'x' * dice.randint(0, 30)} tokens={tokens}", f"chunk={chunk}", f"usage={usage}"]
    kind = dice.random()
    if kind < 0.06:
        words.append(f"status={dice.choice((400, 404, 422))}")
        return Chance(key, " ".join(words), is_stream, fails=True)
    if kind < 0.12:
        words.append("fails=1")
    if dice.random() < 0.3:
        words.append(f"cached={dice.randint(1, 20)}")
    if is_stream and pieces and kind > 0.9:
        words.append(f"cut={dice.randint(0, pieces)}")
        return Chance(key, " ".join(words), is_stream, None, usage, breaks=True)
    leaves = None
    if is_stream and pieces > 1 and 0.6 < kind <= 0.9:
        # At each of them in turn.
        leaves = 1 + number % pieces
        words.append("pause=0.003")
    return Chance(key, " ".join(words), is_stream, leaves, usage)
