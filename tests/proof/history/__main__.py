"""Prove that what many callers are told at once fits one order, and the order of their time."""

import argparse
import asyncio

from tests.proof.ground import ground
from tests.proof.history.run import prove
from tests.proof.verdict import Verdict, kept


async def _run(count: int, seed: int) -> Verdict:
    async with ground() as on:
        return await prove(on, count, seed)


def main() -> None:
    """Play, check, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="calls")
    parser.add_argument("--seed", type=int, default=11, help="of the first history")
    parser.add_argument("--keep", action="store_true", help="keep the result as the published one")
    chosen = parser.parse_args()
    verdict = asyncio.run(_run(chosen.count, chosen.seed))
    raise SystemExit(verdict.finish(kept("history") if chosen.keep else None))


if __name__ == "__main__":
    main()
