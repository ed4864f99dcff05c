"""Play operations against the model."""

import argparse
import asyncio
import sys

from tests.proof.ground import ground
from tests.proof.model.run import Run


async def main(count: int, seed: int, only: str | None, upto: int) -> int:
    async with ground() as made, made.database() as name:
        run = Run(made.servers, name, seed, only=only, upto=upto)
        await run.play(count)
        if run.found is not None:
            if only is not None:
                sys.stdout.write("\n".join(run.found.steps[-30:]) + "\n" + "\n".join(run.found.written) + "\n")
            sys.stdout.write(run.found.told() + "\n")
            return 1
        for finding in run.findings[:5]:
            sys.stdout.write(f"{finding}\n")
    for k, v in sorted(run.seen.items()):
        print(k, v)
    print(run.played, run.accounts, run.compared, dict(run.seconds))
    return 1 if run.findings else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--upto", type=int, default=0)
    a = parser.parse_args()
    raise SystemExit(asyncio.run(main(a.count, a.seed, a.only, a.upto)))
