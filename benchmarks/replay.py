"""Recorded LLM traffic against a running installation: every micro-credit must add up.

The trace's whole hour, 20 times faster, from 50 organizations of which 10 are granted half of
what they would be charged. Real servers (Postgres durable), one API process, one worker.

The control, all the while: on a connection of its own, one durable update of one row in the
same Postgres, ten times a second. It says what this machine's disk and scheduler cost at that
moment, without Exchequer.

    make bench B=replay TRACE=azure-llm-conversations-2023.csv
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.harness import RESULTS, Installation, installed, keep, observed, summary

CONTROL_SECONDS = 0.1


async def control(url: str, taken: list[float]) -> None:
    """Update one row, durably, again and again; note the milliseconds."""
    connection = await asyncpg.connect(url)
    await connection.execute("create table public.control (id int primary key, n bigint not null)")
    await connection.execute("insert into public.control values (1, 0)")
    update = await connection.prepare("update public.control set n = n + 1 where id = 1")
    while True:
        began = time.perf_counter()
        await update.fetch()
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(CONTROL_SECONDS)


async def replay(served: Installation, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the command as an operator does, and return its raw results."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "replay.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.cli", "replay", str(arguments.trace),
            "--url", f"{served.url}/graphql",
            "--speed", str(arguments.speed),
            "--organizations", str(arguments.organizations),
            "--exhausted", str(arguments.exhausted),
            "--json", str(output),
            env={**served.environment, "EXCHEQUER_KEY": served.key},
        )  # fmt: skip
        if await process.wait() != 0:
            raise SystemExit("the replay does not add up")
        results: dict[str, Any] = json.loads(output.read_text("utf-8"))
        return results


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start, replay beside the control, print; return the raw figures."""
    async with installed() as served:
        before = observed()
        taken: list[float] = []
        controlling = asyncio.create_task(control(served.admin_url, taken))
        used_before = served.cpu_seconds()
        try:
            results = await replay(served, arguments)
        finally:
            controlling.cancel()
            await asyncio.gather(controlling, return_exceptions=True)
        used = {
            name: round(seconds - used_before[name], 2)
            for name, seconds in served.cpu_seconds().items()
        }
    figures = summary(taken)
    calls = sum(account["calls"] for account in results["organizations"])
    print(f"\ncontrol: one durable update, {figures['median']:.2f} ms median", end="")
    print(f", {figures['p99']:.2f} ms p99, {figures['samples']} samples")
    print("CPU milliseconds a call:", end=" ")
    print(", ".join(f"{name} {seconds / calls * 1000:.2f}" for name, seconds in used.items()))
    return {
        "machine": before,
        "load_after": os.getloadavg(),
        "cpu_seconds": used,
        "control_ms": figures,
        "replay": results,
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trace", type=Path, help="CSV: TIMESTAMP, ContextTokens, GeneratedTokens.")
    parser.add_argument("--speed", type=float, default=20)
    parser.add_argument("--organizations", type=int, default=50)
    parser.add_argument("--exhausted", type=int, default=10)
    parser.add_argument("--output", type=Path, default=RESULTS / "replay.json")
    arguments = parser.parse_args()
    raw = asyncio.run(run(arguments))
    keep(arguments.output, raw)


if __name__ == "__main__":
    main()
