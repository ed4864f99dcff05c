"""The control: what Postgres' own load generator does with one durable update a commit."""

import asyncio
import re
import resource
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.books import Books
from benchmarks.work import Work

CLIENTS = 16
THREADS = 2
ROWS = 10_000
# Plenty over the time of a run: it ends by itself.
_GRACE_SECONDS = 60.0


async def prepare(books: Books) -> None:
    """Make the table that it updates."""
    await books.admin.execute(
        "create schema control;"
        "create table control.counters (id bigint primary key, n bigint not null)"
        " with (fillfactor = 50)"
    )
    await books.admin.execute(
        "insert into control.counters select i, 0 from generate_series(1, $1::int) as i", ROWS
    )
    await books.admin.execute("vacuum (analyze, freeze) control.counters")


async def updates(books: Books, rows: int, seconds: int) -> Work:
    """Update single rows, each time one of so many; count what really stands there."""
    script = f"\\set id random(1, {rows})\nupdate control.counters set n = n + 1 where id = :id;\n"
    count = "select sum(n)::bigint from control.counters"
    before = await books.admin.fetchval(count)
    used, server, began = _children(), books.cpu_seconds(), time.perf_counter()
    told = await asyncio.to_thread(_run, books, script, seconds)
    took = time.perf_counter() - began
    used, server = _children() - used, books.cpu_seconds() - server
    [processed] = re.findall(r"transactions actually processed: (\d+)", told)
    [rate] = re.findall(r"tps = ([\d.]+) \(without initial connection time\)", told)
    after = await books.admin.fetchval(count)
    if after - before != int(processed):
        raise RuntimeError(f"pgbench tells {processed} updates, and {after - before} are there")
    return Work(int(processed), min(took, int(processed) / float(rate)), used, server)


def _run(books: Books, script: str, seconds: int) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "updates.sql"
        path.write_text(script, encoding="ascii")
        done = subprocess.run(  # noqa: S603  # Postgres' own tool
            [
                str(books.server.binaries / "pgbench"),
                *("--no-vacuum", "--protocol=prepared", f"--client={CLIENTS}"),
                *(f"--jobs={THREADS}", f"--time={seconds}", f"--file={path}", books.admin_url),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + _GRACE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"pgbench ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _children() -> float:
    """Return the CPU seconds of our children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
