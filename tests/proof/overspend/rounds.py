"""Rounds: who wants how much of what, made from a seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final

CALLERS: Final = 1_000
# How many places there are in the first rounds of each way; then come these kinds by turns. Of
# 300 rounds, 204 have a known number of places.
_EDGES: Final = (0, CALLERS, 1, CALLERS - 1)
_KINDS: Final = ("returning", "mixed", "same", "same", "same", "same")


class Entry(StrEnum):
    """A way in."""

    SQL = "SQL"
    CREDITS = "Credits"
    HTTP = "GraphQL"


ENTRIES: Final = (*Entry,)


@dataclass(frozen=True, slots=True)
class Round:
    """Callers who want an amount each, of an account that was opened with so much.

    `places`: how many of them there is room for, where all want the same and nothing
    returns. Where winners bring credits back, who was refused asks again.
    """

    number: int
    entry: Entry
    opening: int
    amounts: tuple[int, ...]
    places: int | None
    set_size: int = 1
    is_returning: bool = False


def round_of(seed: int, number: int, callers: int = CALLERS) -> Round:
    """Return a round; ways in follow each other, and the first four of each are the edges."""
    random = Random(f"{seed}-{number}")
    entry = ENTRIES[number % len(ENTRIES)]
    turn = number // len(ENTRIES)
    amount = random.choice([1, random.randint(2, 1_000_000), random.randint(10**6, 10**12)])
    # GraphQL takes one request a call.
    set_size = 1 if entry is Entry.HTTP or turn % 2 else random.randint(2, 64)
    if turn < len(_EDGES):
        places = min(_EDGES[turn], callers)
        return _same(number, entry, places, amount, random, callers, set_size)
    places = random.randint(1, callers - 1)
    kind = _KINDS[(turn - len(_EDGES)) % len(_KINDS)]
    if kind == "same":
        return _same(number, entry, places, amount, random, callers, set_size)
    amounts = tuple(
        random.randint(1, 2 * amount) if kind == "mixed" else amount for _ in range(callers)
    )
    # Few enough places that what returns is wanted.
    opening = sum(amounts) * (places if kind == "mixed" else max(1, places // 4)) // callers
    return Round(number, entry, opening, amounts, None, set_size, kind == "returning")


def _same(
    number: int,
    entry: Entry,
    places: int,
    amount: int,
    random: Random,
    callers: int,
    set_size: int,
) -> Round:
    opening = places * amount + random.randrange(amount)
    return Round(number, entry, opening, (amount,) * callers, places, set_size)
