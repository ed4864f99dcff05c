"""`exchequer dev`: everything on a laptop, from nothing, with one command.

Real Postgres and Valkey are started from the wheels that bring them, and end with this
process even when it is killed. Data stays in a folder of the user's.
"""

import asyncio
import contextlib
import ctypes
import fcntl
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
from pydantic import SecretStr

from app.core import loop
from app.core.database import Database, PoolLimits
from app.core.refusals import Refusal
from app.core.servers import PostgresServer, ServerError, ValkeyServer
from app.core.servers.folder import DataFolder
from app.identity import Identity
from app.seed import DEMO_MODEL, make_demo_key, seed_demo
from app.settings import ProviderSettings, Settings
from app.standin import StandIn
from app.start import connect, serve
from app.worker import run_worker
from db.migrate import migrate

_MARK = "exchequer-data"
_SECRETS = "secrets.json"
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


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the data folder ours, alone, until the end: its mark is locked.

    A folder with anybody else's files is left as it is.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / _MARK).exists() and any(folder.iterdir()):
            raise ServerError(
                f"{folder} is not empty and holds no installation of Exchequer:"
                " choose a new folder with EXCHEQUER_HOME"
            )
        mark = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerError(
            f"cannot use {folder} for data ({error.strerror}):"
            " choose another folder with EXCHEQUER_HOME"
        ) from error
    try:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError(
                f"`exchequer dev` is running on {folder}: stop it, or choose another folder with"
                " EXCHEQUER_HOME"
            ) from error
        yield
    finally:
        os.close(mark)


def forget(folder: Path) -> None:
    """Remove what an installation left in its folder, and nothing else."""
    for name in ("postgres", "valkey"):
        if (folder / name).exists():
            # Nobody serves from it: what a killed start left behind ends first.
            with DataFolder(folder / name).opened():
                pass
            shutil.rmtree(folder / name)
    for name in (_SECRETS, f"{_SECRETS}.new"):
        (folder / name).unlink(missing_ok=True)


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
    with claimed(folder), contextlib.ExitStack() as servers:
        if fresh:
            forget(folder)
        kept = _read_secrets(folder)
        given = Settings()
        settings = given.model_copy(
            update={
                **_database(given, folder, kept, servers),
                **_redis(given, folder, servers),
                # For this machine alone, whatever HOST is set to for other programs.
                "host": "127.0.0.1",
                "port": given.port if port is None else port,
                "secret_key": SecretStr(kept.secret_key),
                "bootstrap_admin_key": SecretStr(kept.admin_key),
                "log_format": "text",
                "log_level": "warning",
            }
        )
        with contextlib.suppress(KeyboardInterrupt):
            loop.run(_run(settings, folder, kept, started))
        click.echo("\nStopping.", err=True)


def _database(
    given: Settings, folder: Path, kept: Secrets, servers: contextlib.ExitStack
) -> dict[str, str]:
    """Return where Postgres is: where DATABASE_URL says, or started here."""
    if "database_url" in given.model_fields_set:
        click.echo("Postgres is that of DATABASE_URL.", err=True)
        return {}
    with step("starting Postgres"):
        postgres = servers.enter_context(PostgresServer(folder / "postgres"))
    asyncio.run(_ensure_database(postgres))
    return {
        "database_url": postgres.url(_DATABASE, _LOGIN, kept.app_password),
        "migration_database_url": postgres.url(_DATABASE),
    }


def _redis(given: Settings, folder: Path, servers: contextlib.ExitStack) -> dict[str, str]:
    """Return where Redis is: where REDIS_URL says, or a Valkey started here."""
    if "redis_url" in given.model_fields_set:
        click.echo("Redis is that of REDIS_URL.", err=True)
        return {}
    with step("starting Valkey"):
        valkey = servers.enter_context(ValkeyServer(folder / "valkey"))
    return {"redis_url": valkey.url()}


async def _run(settings: Settings, folder: Path, kept: Secrets, started: float) -> None:
    with step("migrating the database"):
        await migrate(settings.migration_url, app_url=settings.database_url)
    with step("seeding"):
        database = await Database.connect(settings.database_url, PoolLimits(min_size=1))
        try:
            demo = await seed_demo(database)
            if not await _opens(database, kept.demo_key):
                made = await make_demo_key(database, demo.project_id)
                kept = Secrets(**{**asdict(kept), "demo_key": made})
                _write_secrets(folder, kept)
        finally:
            await database.close()

    def ready(port: int) -> None:
        seconds = time.monotonic() - started
        click.echo(_welcome(port, str(demo.organization_id), kept, folder, seconds))

    # The model `demo`: the first call needs no key of anybody.
    standin = StandIn()
    await standin.start()
    demo_provider = ProviderSettings(api_key=SecretStr(standin.key), base_url=standin.base_url)
    providers = {DEMO_MODEL: demo_provider, **settings.providers}
    settings = settings.model_copy(update={"providers": providers})

    stop = asyncio.Event()
    work_database = await connect(settings)
    worker = asyncio.create_task(run_worker(settings, work_database, stop))
    try:
        await serve(settings, ready)
    finally:
        stop.set()
        await worker
        await work_database.close()
        await standin.stop()


async def _opens(database: Database, key: str | None) -> bool:
    """Return whether a key of an earlier start is good for this database."""
    if key is None:
        return False
    try:
        await Identity(database).viewer(key)
    except Refusal:
        return False
    return True


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
    path = folder / _SECRETS
    if path.exists():
        try:
            return Secrets(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ServerError(
                f"{path} cannot be read: bring it back, or begin anew with `make dev FRESH=1`"
            ) from error
    made = Secrets(
        app_password=secrets.token_urlsafe(32),
        secret_key=secrets.token_urlsafe(48),
        admin_key=f"admin-{secrets.token_urlsafe(36)}",
    )
    _write_secrets(folder, made)
    return made


def _write_secrets(folder: Path, kept: Secrets) -> None:
    path = folder / _SECRETS
    unfinished = folder / f"{_SECRETS}.new"
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
    call = json.dumps({"model": DEMO_MODEL, "messages": [{"role": "user", "content": "Hello"}]})
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

A first call of a model (any OpenAI client will do, with this address and key):

  curl -s http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' \\
    -H 'Authorization: Bearer {kept.demo_key}' -H 'OpenAI-Organization: {organization_id}' \\
    -d '{call}'

Ctrl-C stops everything.
"""
