"""Where the API process spends its time under one row's load; see benchmarks/sampler.py."""

import asyncio
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from benchmarks.accounts import make_accounts
from benchmarks.harness import SERVE, Installation, installed, module
from benchmarks.load import load
from benchmarks.push import changes, dashboards, drive
from benchmarks.sampler import BEGIN_OR_END
from benchmarks.targets import Ends

_SHOWN = 25
_WRITE_SECONDS = 10
_FRAME_SHARE = 0.97
Load = Callable[[], Awaitable[object]]


class Entry(NamedTuple):
    """A function, and the nanoseconds it used, itself and with what it calls."""

    name: str
    own: int
    within: int


async def profile(row: str, *, requests: int, connections: int, sockets: int, ticks: int) -> str:
    """Return what the API process did while it answered the trusted variant of a row."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "profile.json"
        async with installed(module("benchmarks.sampler", str(result), *SERVE[2:])) as served:
            accounts = await make_accounts(served)
            if row == "push":
                async with (
                    dashboards(served, accounts.hot, sockets) as side,
                    changes(served, accounts.hot, side.tally) as change,
                ):
                    await _sample(served, lambda: drive(side, change, ticks))
            else:
                # Only the API is asked; there is no control.
                ends = Ends(served, accounts, 0, 0)
                runs = iter(range(2))

                async def ask() -> None:
                    made = {
                        "balance": lambda _: ends.balance(),
                        "transactions": lambda _: ends.transactions(),
                        "reserve": ends.reserve,
                    }[row](str(next(runs)))
                    await load(made.variants["trusted"], requests, connections)

                await _sample(served, ask)
            return _table(await _written(result))


async def _sample(served: Installation, ask: Load) -> None:
    """Look at the second of two runs: the first warms up."""
    await ask()
    os.kill(served.processes["serve"], BEGIN_OR_END)
    await ask()
    os.kill(served.processes["serve"], BEGIN_OR_END)


async def _written(result: Path) -> list[Entry]:
    async with asyncio.timeout(_WRITE_SECONDS):
        while not await asyncio.to_thread(result.exists):  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.05)
    text = await asyncio.to_thread(result.read_text, encoding="utf-8")
    return [Entry(*entry) for entry in json.loads(text)]


def _table(entries: list[Entry]) -> str:
    total = sum(entry.own for entry in entries)
    # What everything runs in tells nothing.
    inner = [entry for entry in entries if entry.within < total * _FRAME_SHARE]
    lines = [f"{total / 1e9:.2f} s of CPU"]
    for title, figure, listed in (
        ("itself", "own", entries),
        ("with what it calls", "within", inner),
    ):
        lines.append(f"\n{title:>20}")
        ranked = sorted(listed, key=attrgetter(figure), reverse=True)
        lines += [f"{getattr(each, figure) / total:20.1%}  {each.name}" for each in ranked[:_SHOWN]]
    return "\n".join(lines)
