"""`exchequer dev`: everything on a laptop, from nothing, with one command.

Real Postgres and Valkey are started from the wheels that bring them, and end with this
process even when it is killed. Data stays in a folder of the user's.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from app.core.database import Database, PoolLimits
from app.core.servers import PostgresServer, ServerError, ValkeyServer
from app.seed import make_demo_key, seed_demo
from app.settings import Settings
from app.start import connect, serve
from app.worker import run_worker
from db.migrate import migrate

_MARK = "exchequer-data"
_DATABASE = "exchequer"
_LOGIN = "exchequer"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Secrets:
    """What this data folder's installation keeps between starts; nobody else may read it."""

    app_password: str
    secret_key: str
    admin_key: str
    demo_key: str | None = None


def data_folder() -> Path:
    """Return where data is kept: EXCHEQUER_HOME, or the user's data folder."""
    chosen = os.environ.get("EXCHEQUER_HOME")
    if chosen:
        return Path(chosen).expanduser().resolve()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "exchequer"


def forget(folder: Path) -> None:
    """Remove a data folder, if it is one."""
    if not folder.exists():
        return
    if not (folder / _MARK).exists():
        raise ServerError(f"{folder} is no data folder of Exchequer: nothing was removed")
    shutil.rmtree(folder)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is being done once it takes longer than a second."""
    timer = threading.Timer(1.0, lambda: click.echo(f"… {name}", err=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone.

    For `make dev`: killing make must not leave anything behind.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        # It was gone before we asked.
        sys.exit(1)


def run(*, fresh: bool, port: int | None) -> None:
    """Start everything and serve until Ctrl-C."""
    started = time.monotonic()
    folder = data_folder()
    if fresh:
        forget(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _MARK).touch(mode=0o600)
    kept = _read_secrets(folder)
    with contextlib.ExitStack() as servers:
        with step("starting Postgres"):
            postgres = servers.enter_context(PostgresServer(folder / "postgres"))
        with step("starting Valkey"):
            valkey = servers.enter_context(ValkeyServer(folder / "valkey"))
        settings = Settings(
            database_url=postgres.url(_DATABASE, _LOGIN, kept.app_password),
            migration_database_url=postgres.url(_DATABASE),
            redis_url=valkey.url(),
            secret_key=kept.secret_key,
            bootstrap_admin_key=kept.admin_key,
            log_format="text",
            log_level="warning",
        )
        if port is not None:
            settings = settings.model_copy(update={"port": port})
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(settings, postgres, folder, kept, started))
        click.echo("\nStopping.", err=True)


async def _run(
    settings: Settings, postgres: PostgresServer, folder: Path, kept: Secrets, started: float
) -> None:
    with step("migrating the database"):
        await _ensure_database(postgres)
        await migrate(settings.migration_url, app_url=settings.database_url)
    with step("seeding"):
        database = await Database.connect(settings.database_url, PoolLimits(min_size=1))
        try:
            demo = await seed_demo(database)
            if kept.demo_key is None:
                made = await make_demo_key(database, demo.project_id)
                kept = Secrets(**{**asdict(kept), "demo_key": made})
                _write_secrets(folder, kept)
        finally:
            await database.close()

    def ready(port: int) -> None:
        seconds = time.monotonic() - started
        click.echo(_welcome(port, str(demo.organization_id), kept, folder, seconds))

    stop = asyncio.Event()
    work_database = await connect(settings)
    worker = asyncio.create_task(run_worker(settings, work_database, stop))
    try:
        await serve(settings, ready)
    finally:
        stop.set()
        await worker
        await work_database.close()


async def _ensure_database(postgres: PostgresServer) -> None:
    admin = await Database.connect(postgres.url("postgres"), PoolLimits(min_size=1, max_size=1))
    try:
        if not await admin.value(
            "select exists (select from pg_database where datname = $1)", _DATABASE
        ):
            await admin.fetch(f"create database {_DATABASE}")
    finally:
        await admin.close()


def _read_secrets(folder: Path) -> Secrets:
    path = folder / "secrets.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    made = Secrets(
        app_password=secrets.token_urlsafe(32),
        secret_key=secrets.token_urlsafe(48),
        admin_key=f"admin-{secrets.token_urlsafe(36)}",
    )
    _write_secrets(folder, made)
    return made


def _write_secrets(folder: Path, kept: Secrets) -> None:
    path = folder / "secrets.json"
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(kept)), encoding="utf-8")
    unfinished.replace(path)


def _welcome(port: int, organization_id: str, kept: Secrets, folder: Path, seconds: float) -> str:
    url = f"http://127.0.0.1:{port}/graphql"
    query = (
        f'{{ creditBalance(organizationId: "{organization_id}")'
        " { available reserved spendable version } }"
    )
    body = json.dumps({"query": query})
    return f"""
Exchequer is ready after {seconds:.1f} s.

  GraphiQL       {url}
  Organization   {organization_id}
  Key            {kept.demo_key}
  Admin key      {kept.admin_key}
  Data           {folder}   (forget it: make dev FRESH=1)

A first query to paste into a shell:

  curl -s {url} -H 'Content-Type: application/json' \\
    -H 'Authorization: Bearer {kept.demo_key}' \\
    -d '{body}'

Ctrl-C stops everything.
"""
