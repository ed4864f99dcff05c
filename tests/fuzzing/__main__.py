"""`python -m tests.fuzzing --requests 200000 --seed 7`."""

import argparse
import asyncio
import sys

from tests.fuzzing.kinds import script
from tests.fuzzing.report import Report
from tests.fuzzing.run import fuzz
from tests.fuzzing.server import installed


def main() -> int:
    """Fuzz, and tell; the exit code says whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=fuzz.__doc__)
    parser.add_argument("--requests", type=int, default=200_000, help="how many scripts to play")
    parser.add_argument("--seed", type=int, default=7, help="what all chance is made of")
    parser.add_argument("--only", type=int, metavar="INDEX", help="play one script again")
    chosen = parser.parse_args()
    if chosen.only is not None:
        kind, played = script(chosen.seed, chosen.only)
        sys.stdout.write(f"{kind}, {'a' if played.fresh else 'no'} fresh connection\n")
        sys.stdout.write(f"{played.written()}\n")
    report = asyncio.run(_fuzz(chosen))
    sys.stdout.write(report.told())
    return 1 if report.failures else 0


async def _fuzz(chosen: argparse.Namespace) -> Report:
    async with installed() as place:
        return await fuzz(place, chosen.seed, chosen.requests, only=chosen.only)


if __name__ == "__main__":
    sys.exit(main())
