"""Prove that a thousand callers at once get what there is, and no more."""

import argparse
import asyncio

from tests.proof.ground import ground
from tests.proof.overspend.rounds import round_of
from tests.proof.overspend.run import prove
from tests.proof.verdict import Verdict, kept


async def _run(numbers: range, seed: int) -> Verdict:
    async with ground(moves_time=False) as on:
        return await prove(on, (round_of(seed, number) for number in numbers), seed)


def main() -> None:
    """Run the rounds; say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="rounds, over all ways by turns")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", type=int, help="the one round of this number")
    parser.add_argument("--keep", action="store_true", help="keep the result as the published one")
    chosen = parser.parse_args()
    numbers = range(chosen.count)
    if chosen.only is not None:
        numbers = range(chosen.only, chosen.only + 1)
    verdict = asyncio.run(_run(numbers, chosen.seed))
    if chosen.only is not None:
        # One round cannot show everything.
        verdict.zeros = [zero for zero in verdict.zeros if zero.of]
    raise SystemExit(verdict.finish(kept("overspend") if chosen.keep else None))


if __name__ == "__main__":
    main()
