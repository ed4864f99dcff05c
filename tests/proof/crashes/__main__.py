"""Play rounds with a crash each and print the verdict."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.proof.crashes.faults import drawn
from tests.proof.crashes.installation import installed
from tests.proof.crashes.rounds import Rounds
from tests.proof.verdict import kept


async def _play(numbers: range, seed: int, *, keep: bool, only: bool, unsafe: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with installed(Path(folder)) as installation:
            rounds = Rounds(installation, seed)
            forced = None
            if unsafe:
                forced = "Postgres killed"
                await installation.forget_commits(forgets=True)
            if only or unsafe:
                rounds.kinds = {forced or drawn(seed, number) for number in numbers}
            for number in numbers:
                started = time.monotonic()
                truth = await rounds.play(number, forced)
                sys.stderr.write(
                    f"round {number}: {forced or drawn(seed, number)},"
                    f" {time.monotonic() - started:.1f} s, {len(truth.errors)} without an answer,"
                    f" {rounds.company.shares[-1]} % decided beside other accounts\n"
                )
            await rounds.finish()
            verdict = rounds.verdict()
    return verdict.finish(kept("crashes") if keep else None)


def main() -> None:
    """Read what to play; end with 1 where anything was lost, doubled or kept too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.crashes", description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="how many rounds")
    parser.add_argument("--seed", type=int, default=1, help="what all chance is made of")
    parser.add_argument("--only", type=int, metavar="ROUND", help="play this round alone")
    parser.add_argument("--keep", action="store_true", help="keep the result as published")
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="with synchronous_commit = off and Postgres killed each time: must go red",
    )
    chosen = parser.parse_args()
    if chosen.unsafe and chosen.keep:
        parser.error("what is unsafe is not published")
    numbers = range(1, chosen.count + 1)
    if chosen.only is not None:
        numbers = range(chosen.only, chosen.only + 1)
    raise SystemExit(
        asyncio.run(
            _play(
                numbers,
                chosen.seed,
                keep=chosen.keep,
                only=chosen.only is not None,
                unsafe=chosen.unsafe,
            )
        )
    )


if __name__ == "__main__":
    main()
