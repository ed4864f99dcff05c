"""What there is to try, each with a name by which it can be tried again."""

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, product
from random import Random
from typing import Final

from tests.proof.interleavings.explorer import STEPS
from tests.races.scenes import OPERATIONS, SCENES

# All merges of the three steps of A with the three steps of B.
MERGES: Final = tuple(
    "".join("A" if place in chosen else "B" for place in range(2 * STEPS))
    for chosen in combinations(range(2 * STEPS), STEPS)
)

_SLASHES: Final = 3

# How many pauses an operation passes in a scene: alone, or behind another; at most.
Pauses = dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which operations get between one another, and in which scenes."""

    operations: tuple[str, ...] = tuple(OPERATIONS)
    scenes: tuple[str, ...] = tuple(SCENES)


ALL: Final = Scope()


@dataclass(frozen=True, slots=True)
class Case:
    """Two operations in a scene, and how they get between one another.

    Either a merge of whole steps, or the pauses at which A and B are stopped; B at none: 0.
    """

    scene: str
    first: str
    second: str
    order: str = ""
    stops: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """What it is called, on a command line too."""
        how = self.order or f"{self.stops[0]}-{self.stops[1]}"
        return f"{self.scene}/{self.first}/{self.second}/{how}"


def is_name(name: str) -> bool:
    """Whether it may name a case; how many pauses there are is not known before."""
    scene, *operations, how = name.split("/") if name.count("/") == _SLASHES else ("", "")
    is_merge, is_stop = how in MERGES, re.fullmatch(r"\d+-\d+", how) is not None
    return scene in SCENES and {*operations} <= {*OPERATIONS} and (is_merge or is_stop)


def scope_of(name: str) -> Scope:
    """Return what the case of a name needs."""
    scene, first, second, _ = name.split("/")
    return Scope((first, second) if first != second else (first,), (scene,))


def merges(scope: Scope = ALL) -> list[Case]:
    """Return all merges of all pairs: the mirror of a merge is the pair the other way round."""
    return [
        Case(scene, first, second, order)
        for scene, (first, second), order in product(
            scope.scenes, combinations_with_replacement(scope.operations, 2), MERGES
        )
    ]


def stops(pauses: Pauses, *, both: bool, scope: Scope = ALL) -> list[Case]:
    """Return every pause of A, with every one of B or with none, for all pairs both ways round."""
    return [
        Case(scene, first, second, stops=stop)
        for scene, first, second in product(scope.scenes, scope.operations, scope.operations)
        for stop in product(
            range(1, pauses[scene, first] + 1),
            range(1, pauses[scene, second] + 1) if both else (0,),
        )
    ]


def drawn(cases: list[Case], count: int, random: Random) -> list[Case]:
    """Return so many of them, of every scene and pair as many; all, if there are no more."""
    groups: defaultdict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.scene, case.first, case.second].append(case)
    order = list(groups.values())
    random.shuffle(order)
    for group in order:
        random.shuffle(group)
    taken: list[Case] = []
    while order and len(taken) < count:
        taken += [group.pop() for group in order[: count - len(taken)]]
        order = [group for group in order if group]
    return sorted(taken, key=lambda case: case.scene)
