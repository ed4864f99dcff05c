"""Play operations by chance on the product and on the model, and compare all they say."""

import argparse
import asyncio
import sys

from tests.proof.ground import ground
from tests.proof.model.report import verdict
from tests.proof.model.run import Run
from tests.proof.verdict import kept


async def _main(given: argparse.Namespace) -> int:
    async with ground() as made, made.database() as name:
        run = Run(made.servers, name, given.seed, only=given.only, upto=given.upto)
        await run.play(given.count)
    if run.found is not None and given.only is not None:
        sys.stdout.write("\n".join([*run.found.steps[-given.last :], *run.found.written]) + "\n")
    if given.only is not None:
        told = run.found.told() if run.found is not None else f"{run.played} operations agree"
        sys.stdout.write(f"{told}\n")
        return 0 if run.found is None else 1
    return verdict(run).finish(kept("model") if given.keep else None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.model", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="how many operations")
    parser.add_argument("--seed", type=int, default=1, help="what all chance is made of")
    parser.add_argument("--keep", action="store_true", help="keep the result as published")
    parser.add_argument("--only", metavar="ACCOUNT", help="play one account alone, as told")
    parser.add_argument("--upto", type=int, default=0, help="and no more of its operations")
    parser.add_argument("--last", type=int, default=30, help="how many of these are shown")
    raise SystemExit(asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    main()
