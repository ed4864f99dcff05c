"""Storms of cancellations, one after the other: callers who leave at any of their awaits."""

import argparse
import asyncio
from collections import Counter

from tests.proof.crashes.storm import POINTS, Storm
from tests.proof.ground import Ground, ground
from tests.proof.verdict import Verdict, Zero, kept
from tests.support.accounts import Accounts

# Of a storm.
WORKS = 60
ACCOUNTS = 5
OPENING = 10_000
_REPLAY = "python -m tests.proof.cancellation --count 1 --seed {}: "


async def prove(on: Ground, count: int, seed: int) -> Verdict:
    """Let so many storms blow, each on accounts of its own."""
    verdict = Verdict("cancellation", seed)
    zeros: dict[str, Zero] = {}
    figures: Counter[str] = Counter()
    met: Counter[tuple[str, int, bool]] = Counter()
    async with on.opened() as (database, admin):
        accounts = Accounts(database, admin)
        project = await accounts.project()
        for number in range(seed, seed + count):
            # A large pool of old connections would hide what one of them was left with.
            await database._pool.expire_connections()
            opened = [await accounts.open(OPENING, project_id=project) for _ in range(ACCOUNTS)]
            storm = Storm(database, number)
            told = await storm.blow(opened, OPENING, WORKS)
            for zero in told.zeros:
                whole = zeros.setdefault(zero.what, Zero(zero.what, 0, zero.unit))
                whole.of += zero.of
                for example in zero.examples:
                    whole.happened(_REPLAY.format(number) + example)
                whole.found += zero.found - len(zero.examples)
            figures.update(told.figures)
            met += storm.met
    nowhere = Zero("places where nobody was broken off", len(POINTS), "places")
    for point in POINTS:
        if not met[point]:
            nowhere.happened(f"{point}")
    verdict.zeros = [*zeros.values(), nowhere]
    verdict.figures = {"storms": count, **figures}
    return verdict


async def _run(count: int, seed: int) -> Verdict:
    async with ground(moves_time=False) as on:
        return await prove(on, count, seed)


def main() -> None:
    """Let them blow, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="storms")
    parser.add_argument("--seed", type=int, default=1, help="of the first")
    parser.add_argument("--keep", action="store_true", help="keep the result as the published one")
    chosen = parser.parse_args()
    verdict = asyncio.run(_run(chosen.count, chosen.seed))
    raise SystemExit(verdict.finish(kept("cancellation") if chosen.keep else None))


if __name__ == "__main__":
    main()
