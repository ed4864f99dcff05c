"""Prove that two operations come one after the other, however they get between each other."""

import argparse
import asyncio

from tests.proof.ground import ground
from tests.proof.interleavings.cases import is_name
from tests.proof.interleavings.run import prove
from tests.proof.verdict import Verdict, kept


async def _run(count: int, seed: int, only: str) -> Verdict:
    async with ground() as on:
        return await prove(on, count, seed, only=only)


def main() -> None:
    """Try the schedules; say what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.interleavings", description=__doc__
    )
    parser.add_argument("--count", type=int, default=60_000, help="how many schedules, at most")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help="the one schedule of this name")
    parser.add_argument("--keep", action="store_true", help="keep the result as the published one")
    chosen = parser.parse_args()
    if chosen.only and not is_name(chosen.only):
        parser.error(f"there is no {chosen.only}")
    verdict = asyncio.run(_run(chosen.count, chosen.seed, chosen.only))
    raise SystemExit(verdict.finish(kept("interleavings") if chosen.keep else None))


if __name__ == "__main__":
    main()
