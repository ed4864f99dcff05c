"""The data folder of one local server: who may use it, its lock, its password, its log.

* `server.lock`: held by every process of the server; its text is for messages only.
* `password`: the superuser's, mode 0600.
* `server.log`: what the server says, kept short, with one predecessor `server.log.1`.
* `cluster`: Postgres' own folder.
"""

import contextlib
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from app.core.servers.processes import (
    END_SECONDS,
    POLL_SECONDS,
    Identity,
    Launch,
    ServerError,
    identity_for,
    is_running,
)

LOCK = "server.lock"
PASSWORD = "password"  # noqa: S105 (a file name)
LOG = "server.log"
OWNER_ALIVE_SECONDS = 1.0  # it may be between two servers
OWNER_GONE_SECONDS = 6.0  # Postgres kills children that ignore its end after five
STRAY_SECONDS = 1.0


class DataFolder:
    """A folder that belongs to one server and to nothing else."""

    def __init__(self, path: Path) -> None:
        # Resolved: the server runs with this folder as its own, and links may change.
        self.path = path.resolve()

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.path / LOG

    @contextlib.contextmanager
    def opened(self) -> Iterator[Launch]:
        """Make the folder ready, hold its lock, and say how to launch in it.

        Our own hold ends with the block; the processes launched in it keep theirs.
        """
        self._claim()
        lock = os.open(
            self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            self._lock(lock)
            identity = identity_for(self.path)
            self.log.touch(0o600)
            identity.own_tree(self.path)
            yield Launch(folder=self.path, identity=identity, log=self.log, lock=lock)
        finally:
            os.close(lock)

    def clear(self) -> None:
        """Return when no process of the server is left; end those that stay behind.

        A server that was killed by somebody else (the kernel, short of memory) leaves children
        that compute: they do not look for it before their statement ends.
        """
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not _await_lock(lock, STRAY_SECONDS):
                self._clear(lock)
        finally:
            os.close(lock)

    def password(self, identity: Identity, chosen: str | None = None) -> str:
        """Return the superuser's password; made once, so that resuming knows it."""
        path = self.path / PASSWORD
        if chosen is not None:
            self.write(PASSWORD, chosen + "\n", identity)
        elif not path.exists():
            self.write(PASSWORD, secrets.token_urlsafe(24) + "\n", identity)
        return path.read_text(encoding="utf-8").strip()

    def write(self, name: str, text: str, identity: Identity) -> None:
        """Write a private file whole or not at all, whatever dies on the way."""
        half = self.path / f"{name}.new"
        half.unlink(missing_ok=True)
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        identity.own(half)
        half.replace(self.path / name)
        self.sync()

    def sync(self) -> None:
        """Bring renames in the folder to the disk."""
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _claim(self) -> None:
        """Refuse a folder with anybody else's files: as root it may change owner as a whole."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()}
        except OSError as error:
            raise ServerError(
                f"cannot use {self.path} as a data folder ({error.strerror}): choose another"
            ) from error
        if names and LOCK not in names:
            raise ServerError(
                f"{self.path} is not empty and no local server made it: choose a new folder"
            )

    def _lock(self, lock: int) -> None:
        for patience in (OWNER_ALIVE_SECONDS, OWNER_GONE_SECONDS):
            if _await_lock(lock, patience):
                break
            # Asked anew each time: another start may hold the lock and only now note itself.
            owner, server = self._noted()
            if owner and is_running(owner):
                raise ServerError(
                    f"a server is running in {self.path} (process {server or 'unknown'}, started"
                    f" by {owner}): stop it or choose another folder"
                )
        else:
            # Its owner is gone, so it was to end by itself, and it does not.
            self._clear(lock)
        note_holders(lock, os.getpid())

    def _clear(self, lock: int) -> None:
        holders = list(self._holders())
        for holder in holders:
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
        if not _await_lock(lock, END_SECONDS):
            raise ServerError(
                f"processes of the server in {self.path} do not end ({holders or 'unknown'}):"
                " end them or choose another folder"
            )

    def _holders(self) -> Iterator[int]:
        """Find the server's processes: they work in the folder and have its lock open."""
        lock = str(self.path / LOCK)
        for process in Path("/proc").glob("[0-9]*"):
            # Processes and files may vanish while we look; those of others are not ours.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if (process / "cwd").readlink().is_relative_to(self.path) and any(
                    str(file.readlink()) == lock for file in (process / "fd").iterdir()
                ):
                    yield int(process.name)

    def _noted(self) -> tuple[int, int]:
        words = (self.path / LOCK).read_text(encoding="ascii", errors="replace").split()
        numbers = [int(word) for word in words if word.isdecimal()]
        return (*numbers, 0, 0)[0], (*numbers, 0, 0)[1]


def note_holders(lock: int, *pids: int) -> None:
    """Leave the pids that a refused start on this folder should name: ours, the server's."""
    os.truncate(lock, 0)
    os.pwrite(lock, " ".join(str(pid) for pid in pids).encode("ascii"), 0)


def _await_lock(lock: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
