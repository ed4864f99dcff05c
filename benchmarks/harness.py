"""What benchmarks share: an installation of their own, durable, and the machine's name."""

import asyncio
import contextlib
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ValkeyServer
from app.core.servers.local import free_port
from app.seed import make_demo_key, seed_demo
from benchmarks import texts
from db.migrate import migrate

RESULTS = Path(__file__).parent / "results"
# One run after the other, and they are committed together.
_WRITTEN_BY_RUNS = (
    "benchmarks/results",
    "benchmarks/RESULTS.md",
    "docs/how-we-know.md",
    "tests/proof/mutants/killed.json",
)
_STOP_SECONDS = 20
_READY_SECONDS = 60
_REST_SECONDS = 60
_AT_REST = 0.05
# <linux/posix-timers.h>: the clock that counts what the scheduler gave a process.
_PROCESS_CLOCK = 2


@dataclass(frozen=True)
class Installation:
    """One API process and one worker, with default settings, and who may use them."""

    port: int
    organization: str
    key: str
    database_url: str
    admin_url: str
    redis_url: str
    environment: dict[str, str]
    processes: dict[str, int]

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> dict[str, float]:
        """Return what each process, its children included, has used so far."""
        return {name: family_seconds(pid) for name, pid in self.processes.items()}


def module(*words: str) -> tuple[str, ...]:
    """Return the command that runs a module."""
    return (sys.executable, "-m", *words)


SERVE = module("app.cli", "serve")


@asynccontextmanager
async def installed(
    serve: Sequence[str] = SERVE, more: Mapping[str, str] | None = None
) -> AsyncIterator[Installation]:
    """Start servers, migrate, seed, serve and work; stop all of it afterwards.

    `more`: settings beside the defaults.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        postgres = servers.enter_context(PostgresServer(Path(folder) / "postgres"))
        valkey = servers.enter_context(ValkeyServer(Path(folder) / "valkey"))
        password = secrets.token_urlsafe(16)
        admin_url = postgres.url("exchequer")
        url = postgres.url("exchequer", "exchequer", password)
        connection = await asyncpg.connect(postgres.url("postgres"))
        await connection.execute("create database exchequer")
        await connection.close()
        await migrate(admin_url, app_url=url)
        database = await Database.connect(url, PoolLimits(min_size=1, max_size=2))
        demo = await seed_demo(database)
        key = await make_demo_key(database, demo.project_id)
        await database.close()
        port = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "REDIS_URL": valkey.url(),
            "PORT": str(port),
            "EXCHEQUER_LOG_LEVEL": "warning",
            **(more or {}),
        }
        async with (
            started(serve, environment) as serving,
            started(module("app.cli", "worker"), environment) as working,
        ):
            await _until_ready(port)
            yield Installation(
                port,
                str(demo.organization_id),
                key,
                url,
                admin_url,
                valkey.url(),
                environment,
                {
                    "serve": serving.pid,
                    "worker": working.pid,
                    "postgres": postgres.pid,
                    "valkey": valkey.pid,
                },
            )


@asynccontextmanager
async def started(command: Sequence[str], environment: dict[str, str]) -> AsyncIterator[Process]:
    """Run a command as a process of its own; stop it afterwards."""
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def listening(command: Sequence[str], environment: dict[str, str]) -> AsyncIterator[Process]:
    """Run a command as `started` does, with a PORT of its own, once it accepts connections."""
    async with started(command, environment) as process:
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                if process.returncode is not None:
                    raise RuntimeError(f"{command} ended with {process.returncode}")
                # Not listening yet.
                with contextlib.suppress(OSError):
                    _, line = await asyncio.open_connection("127.0.0.1", int(environment["PORT"]))
                    line.close()
                    break
                await asyncio.sleep(0.05)
        yield process


async def _until_ready(port: int) -> None:
    async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            # Not listening yet.
            with contextlib.suppress(httpx.TransportError):
                response = await client.get(f"http://127.0.0.1:{port}/health")
                if response.json()["redis"] == "up":
                    return
            await asyncio.sleep(0.1)


def family_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and all its children, those that ended included."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        # A child may end while we look: its parent counts it then.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{each}/stat").read_text("ascii")
            total += sum(map(int, text.rpartition(")")[2].split()[11:15]))
            for task in Path(f"/proc/{each}/task").iterdir():
                waiting += map(int, (task / "children").read_text("ascii").split())
    return total / ticks


def process_seconds(pid: int) -> float:
    """Return the CPU seconds (user and system) of one process and all its threads.

    What /proc tells of it, in nanoseconds instead of hundredths of a second.
    """
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def summary(values: list[float]) -> dict[str, float]:
    """Return the figures of a series."""
    cuts = statistics.quantiles(values, n=100)
    return {
        "samples": len(values),
        "median": statistics.median(values),
        "p95": cuts[94],
        "p99": cuts[98],
        "min": min(values),
        "max": max(values),
    }


def commit() -> str:
    """Return the commit of this checkout; empty where there is none."""
    return _git("rev-parse", "HEAD")


def is_clean() -> bool:
    """Whether the commit has all that stands here, but for what runs write themselves."""
    left_out = [f":(exclude){path}" for path in _WRITTEN_BY_RUNS]
    return bool(commit()) and not _git("status", "--porcelain", "--", ".", *left_out)


def warn_unless_clean() -> None:
    """Say that what is measured now stands in no commit, where that is so."""
    if not is_clean():
        print("no commit has all that stands here, and the results will say so")


def _git(*arguments: str) -> str:
    told = subprocess.run(  # noqa: S603  # our own arguments
        ["git", *arguments],  # noqa: S607  # the developer's own git
        capture_output=True,
        text=True,
        check=False,
        cwd=texts.ROOT,
    )
    return told.stdout.strip()


def machine() -> dict[str, Any]:
    """Return what runs, on what, and how busy that is: to be asked before a run."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "is_clean": is_clean(),
        "texts": texts.digests(),
        "call_texts": texts.digests(patterns=texts.CALLS),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }


def observed() -> dict[str, Any]:
    """Return the machine, and which share of it others use just now, in the next second."""
    return {**machine(), "busy": _busy()}


def await_rest() -> None:
    """Wait until others leave the machine alone, a minute at most."""
    for second in range(_REST_SECONDS):
        if (busy := _busy()) < _AT_REST:
            return
        if second == 0:
            print(f"waiting for what else runs: {busy:.0%} of the processors", flush=True)
    print("something else runs on, and the results will say so")


def require_disk(gigabytes: float) -> None:
    """End with what to do unless there is so much room for databases of a run."""
    place = tempfile.gettempdir()
    if shutil.disk_usage(place).free < gigabytes * 1e9:
        raise SystemExit(
            f"this needs {gigabytes:,.0f} GB in {place}; set TMPDIR to where there are"
        )


def _busy() -> float:
    """Return the share of all processors' time that is used in a second in which we sleep."""
    before = _ticks()
    time.sleep(1)
    idle, whole = (now - then for now, then in zip(_ticks(), before, strict=True))
    return 1 - idle / max(whole, 1)


def _ticks() -> tuple[int, int]:
    # <Documentation/filesystems/proc.rst>: user, nice, system, idle, iowait, irq, softirq, steal.
    first = Path("/proc/stat").read_text("utf-8").splitlines()[0]
    ticks = [int(each) for each in first.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def keep(path: Path, raw: dict[str, Any]) -> None:
    """Write the raw figures."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
