"""Prove that calls of models are charged for what providers did, whatever goes wrong."""

import argparse
import asyncio

from tests.proof.calls.run import prove
from tests.proof.ground import ground
from tests.proof.verdict import Verdict, kept


async def _run(count: int, seed: int) -> Verdict:
    async with ground(moves_time=False) as on:
        return await prove(on, count, seed)


def main() -> None:
    """Play, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="calls by chance")
    parser.add_argument("--seed", type=int, default=5, help="of all chance")
    parser.add_argument("--keep", action="store_true", help="keep the result as the published one")
    chosen = parser.parse_args()
    verdict = asyncio.run(_run(chosen.count, chosen.seed))
    raise SystemExit(verdict.finish(kept("calls") if chosen.keep else None))


if __name__ == "__main__":
    main()
