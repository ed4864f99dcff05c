"""The server under fire: a process of its own, what it wrote, and what it takes."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.core.servers import PostgresServer, ValkeyServer
from app.core.servers.child import UNCHANGED
from app.core.servers.processes import CHILD
from db.migrate import migrate
from tests.fuzzing import world
from tests.fuzzing.wire import Answer, Wire

ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_STOP_SECONDS = 30
_LOGIN = ("exchequer_fuzz", "only-for-the-fuzzer")
_SUSPECT = re.compile(
    rb'Traceback|Exception in ASGI|"level": ?"(error|critical)"|never (retrieved|awaited)'
    # Why the database could not be asked.
    rb'|"event": "graphql.unavailable"'
)
_INDEX = re.compile(rb"fuzz-(\d+)-\d+")
_VARIES = re.compile(r"0x\w+|\d+|'[^']{20,}'")
_LISTENING = "0A"
_LISTENS = re.compile(r'http://127\.0\.0\.1:(\d+)"[^\n]*serve\.listening')
# Measured alone, without what measures.
_LEFT_OUT = ("COV", "PYTEST", "EXCHEQUER_")


class Server:
    """`exchequer serve`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self._read = 0
        self.port = port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Return what all its threads have used, to the nanosecond."""
        # The kernel's name of the clock of another process (clock_getcpuclockid).
        return time.clock_gettime(~self.pid << 3 | 2)

    def resident_bytes(self) -> int:
        """Return what it has in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def descriptors(self) -> tuple[int, int]:
        """Return how many open files are clients' connections, and how many are others."""
        clients = set()
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == self.port and fields[3] != _LISTENING:
                clients.add(f"socket:[{fields[9]}]")
        opened = []
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            # Closed since it was listed, at times.
            with suppress(FileNotFoundError):
                opened.append(str(link.readlink()))
        held = sum(each in clients for each in opened)
        return held, len(opened) - held

    def suspects(self) -> list[tuple[int | None, str, str]]:
        """Return new lines of the log that tell of a fault: index if known, summary, line."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1] if self.runs else new
        self._read += len(whole)
        found: list[tuple[int | None, str, str]] = []
        for line in whole.splitlines():
            if _SUSPECT.search(line):
                index = _INDEX.search(line)
                text = line.decode("utf-8", "replace")
                found.append((int(index[1]) if index else None, _summary(text), text))
        return found

    async def good(self) -> str | None:
        """Ask a good question over a connection of its own; return what is wrong."""
        wire = await Wire.open(self.port)
        try:
            body = b'{"query": "{ creditBalance(organizationId: \\"%s\\") { version } }"}'
            body %= world.ORGANIZATION.encode()
            await wire.send(
                b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s"
                % (world.ADMIN_KEY.encode(), len(body), body)
            )
            async with asyncio.timeout(_STOP_SECONDS):
                answer = await wire.answer()
        finally:
            wire.close()
        return None if _is_good(answer) else f"a good request was answered {answer}"

    async def stop(self) -> int:
        """Tell it to stop; return how it ended."""
        self._process.terminate()
        try:
            return await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
        finally:
            if self.runs:
                self._process.kill()
                self._process.wait()


def _summary(line: str) -> str:
    """Return the event of a log line, and the last line of its exception."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line[:80]
    last = str(entry.get("exception", "")).rstrip().rpartition("\n")[2]
    return f"{str(entry.get('event')).strip()} {_VARIES.sub('…', last)[:70]}".strip()


def _is_good(answer: Answer | None) -> bool:
    if answer is None or answer.status != 200:
        return False
    body = json.loads(answer.body)
    return "errors" not in body and body["data"]["creditBalance"]["version"] > 0


@dataclass(frozen=True, slots=True)
class Installation:
    """What a server needs beside it, with the world made."""

    folder: Path
    database_url: str
    redis_url: str


@asynccontextmanager
async def installed() -> AsyncIterator[Installation]:
    """Start Postgres and Valkey, migrate, and make the world."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, ExitStack() as servers:
        folder = Path(name)
        # Nothing is to outlive the run: so what is written need not reach the disk.
        postgres = servers.enter_context(PostgresServer(folder / "postgres", durable=False))
        valkey = servers.enter_context(ValkeyServer(folder / "valkey"))
        connection = await asyncpg.connect(postgres.url("postgres"))
        await connection.execute("create database fuzz")
        await connection.close()
        url = postgres.url("fuzz", *_LOGIN)
        await migrate(postgres.url("fuzz"), app_url=url)
        await world.make(postgres.url("fuzz"), url)
        yield Installation(folder, url, valkey.url())


@asynccontextmanager
async def serving(place: Installation, module: str = "app.cli") -> AsyncIterator[Server]:
    """Serve by `python -m MODULE serve`, in a process of its own."""
    server = await _start(place, [sys.executable, "-m", module, "serve"])
    try:
        yield server
    finally:
        if server.runs:
            await server.stop()


async def _start(place: Installation, command: Sequence[str]) -> Server:
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith(_LEFT_OUT)},
        "DATABASE_URL": place.database_url,
        "REDIS_URL": place.redis_url,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "EXCHEQUER_SECRET_KEY": "secret-key-of-the-fuzzer-and-of-nothing-else",
        "EXCHEQUER_BOOTSTRAP_ADMIN_KEY": world.ADMIN_KEY,
        "EXCHEQUER_ALLOWED_ORIGINS": "https://app.example",
        # More of the schema can be asked for, and errors suggest what was meant.
        "EXCHEQUER_GRAPHIQL": "true",
    }
    log = place.folder / "server.log"
    process = _spawn(environment, log, command)
    async with asyncio.timeout(_START_SECONDS):
        while (found := _LISTENS.search(said := log.read_text("utf-8", "replace"))) is None:
            assert process.poll() is None, said
            await asyncio.sleep(0.05)
    return Server(process, int(found[1]), log)


def _spawn(
    environment: dict[str, str], log: Path, command: Sequence[str]
) -> subprocess.Popen[bytes]:
    """Start it in a way that it does not outlive us, even if we are killed."""
    bound = [str(number) for number in (os.getpid(), signal.SIGKILL.value, *[UNCHANGED] * 3)]
    with log.open("wb") as file:
        return subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-I", "-S", str(CHILD), *bound, str(log.parent), *command],
            env=environment,
            cwd=ROOT,
            stdout=file,
            stderr=file,
        )
