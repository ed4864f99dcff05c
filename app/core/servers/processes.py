"""Child processes that die with us: as whom they run, how they are spawned and killed.

The promise: after `kill -9` of this program no server process stays, whatever it was doing.
On Linux the kernel keeps it (`PR_SET_PDEATHSIG`, set in child.py). Elsewhere a server whose
parent was killed stays, and the next start on its folder says so.
"""

import contextlib
import functools
import logging
import os
import pwd
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from app.core.servers.child import UNCHANGED

CHILD = Path(__file__).with_name("child.py")
LOG_BYTES_MAX = 16 * 1024 * 1024
LOG_CHECK_SECONDS = 2.0
POLL_SECONDS = 0.01
SPAWN_SECONDS = 30.0
END_SECONDS = 10.0
NOLOGIN = ("nologin", "false")
# Only what a server may need. The caller's PG* variables would steer initdb, and messages
# must be in the one language that is looked for in the log.
ENVIRONMENT_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class ServerError(Exception):
    """A local server cannot do what was asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a server runs: the caller, the caller seen as another, or another."""

    inner_uid: int = UNCHANGED
    uid: int = UNCHANGED
    gid: int = UNCHANGED

    def own(self, path: Path) -> None:
        """Hand a file to the server's user. Links are not followed: we may be root."""
        if self.uid == UNCHANGED:
            return
        try:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        except OSError as error:
            raise ServerError(
                f"cannot hand {path} to uid {self.uid} ({error.strerror}): this machine refuses"
                " user namespaces and other users alike; run as an ordinary user, or set"
                " DATABASE_URL and REDIS_URL"
            ) from error

    def own_tree(self, folder: Path) -> None:
        """Hand a whole data folder to the server's user; every time, so a kill half-way heals."""
        if self.uid == UNCHANGED:
            return
        for parent, folders, files in os.walk(folder):
            for name in (*folders, *files):
                self.own(Path(parent, name))
        self.own(folder)


def identity_for(folder: Path) -> Identity:
    """Choose as whom a server on `folder` runs.

    An ordinary user: as that user. Root: as whoever already owns the folder; else as root
    seen from inside a user namespace; else, where containers forbid that, as another account.
    """
    uid = os.geteuid()
    if uid != 0:
        # initdb refuses a uid that /etc/passwd does not know (containers pick such uids);
        # a namespace lends it a known one. Where that is forbidden initdb says the reason.
        if _is_known(uid) or not namespace_allowed():
            return Identity()
        return Identity(inner_uid=_known_uid())
    status = folder.stat()
    if status.st_uid != 0:
        return Identity(uid=status.st_uid, gid=status.st_gid)
    if namespace_allowed():
        return Identity(inner_uid=_known_uid())
    return _spare_account()


@functools.cache
def namespace_allowed() -> bool:
    """Whether this machine lets us make a user namespace; hardened containers do not."""
    if sys.platform != "linux":
        return False
    attempt = subprocess.run(  # noqa: S603 (our own program)
        _child_command(Identity(inner_uid=_known_uid()), signal.SIGKILL, Path("/"), []),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SPAWN_SECONDS,
        check=False,
    )
    return attempt.returncode == 0


def is_running(pid: int) -> bool:
    """Whether a process lives; one that is dead and not yet collected does not."""
    if sys.platform == "linux":
        status = _status(pid)
        return status is not None and status[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def children(pid: int) -> list[int]:
    """Return the direct children of a process (none where there is no /proc)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        status = _status(int(entry.name))
        if status is not None and status[1] == pid:
            found.append(int(entry.name))
    return found


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a server and its children at one stroke, as a crash would.

    Stopped first: a stopped parent neither forks nor collects, so the list of its children
    is complete and none of their pids can be given to a stranger meanwhile.
    """
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 1.0
    while (status := _status(process.pid)) is not None and status[0] not in "TZX":
        if time.monotonic() > deadline:
            break  # stuck in the kernel: it cannot fork there either
        time.sleep(POLL_SECONDS / 10)
    relatives = children(process.pid)
    for child in relatives:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.kill()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"process {process.pid} does not end, not even killed") from error
    deadline = time.monotonic() + END_SECONDS
    while any(is_running(child) for child in relatives):
        if time.monotonic() > deadline:
            raise ServerError(f"children of process {process.pid} do not end, not even killed")
        time.sleep(POLL_SECONDS / 10)


@dataclass(frozen=True, slots=True)
class Launch:
    """What all processes on one data folder share.

    `lock` is an open, locked file that every process inherits: the folder counts as in use
    for exactly as long as one of them lives, with no pid to go stale.
    """

    folder: Path
    identity: Identity
    log: Path
    lock: int

    def spawn(
        self, command: Sequence[str], death_signal: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Start a server that receives `death_signal` when this program is gone."""
        return _keeper().spawn(self, command, death_signal)

    def run(self, command: Sequence[str], seconds: float) -> None:
        """Run a tool to its end under the same identity."""
        offset = self.log.stat().st_size
        process = self.spawn(command, signal.SIGKILL)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise ServerError(
                f"{Path(command[0]).name} did not end within {seconds:g} seconds: see {self.log}"
            ) from error
        finally:
            kill_family(process)
        if code != 0:
            raise ServerError(
                f"{Path(command[0]).name} failed: {shortened(self.said(offset))} (see {self.log})"
            )

    def said(self, offset: int) -> str:
        """Return what the log says from `offset` on."""
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read(LOG_BYTES_MAX).decode(errors="replace")

    def start_child(
        self, command: Sequence[str], death_signal: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Fork and exec, in whatever thread calls."""
        kept = {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 (our own program)
                _child_command(self.identity, death_signal, self.folder, command),
                cwd=self.folder,
                env={**kept, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self.lock,),
                # Ctrl-C is for us: we stop the servers in our own order.
                start_new_session=True,
            )


def shortened(text: str) -> str:
    """Return the telling lines of a log, short enough for a message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "error" in line.lower()]
    return " | ".join((telling or lines)[-3:]) or "it said nothing"


def bound_log(log: Path, bytes_max: int) -> None:
    """Keep a log and one predecessor of at most `bytes_max` each.

    The server holds the file open for appending, so it is copied and emptied, not renamed.
    """
    size = log.stat().st_size
    if size <= bytes_max:
        return
    with log.open("r+b") as current, log.with_suffix(".log.1").open("wb") as previous:
        current.seek(size - bytes_max)
        previous.write(current.read(bytes_max))
        current.truncate(0)


class Keeper:
    """The thread that starts every child and watches the size of the logs.

    The kernel sends the death signal when the *thread* that forked ends, not the process.
    A server started from a short-lived thread would end with it, so all are started here,
    in a thread that lives as long as the program.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[
            tuple[
                Future[subprocess.Popen[bytes]],
                Launch,
                Sequence[str],
                signal.Signals,
            ]
        ] = queue.SimpleQueue()
        self._logs: list[tuple[subprocess.Popen[bytes], Path]] = []
        threading.Thread(target=self._work, name="local-servers", daemon=True).start()

    def spawn(
        self, launch: Launch, command: Sequence[str], death_signal: signal.Signals
    ) -> subprocess.Popen[bytes]:
        """Start a child and return it; errors of the start are the caller's."""
        started: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((started, launch, command, death_signal))
        return started.result(SPAWN_SECONDS)

    def _work(self) -> None:
        while True:
            try:
                started, launch, command, death_signal = self._jobs.get(timeout=LOG_CHECK_SECONDS)
            except queue.Empty:
                self._bound_logs()
                continue
            try:
                process = launch.start_child(command, death_signal)
            except BaseException as error:  # noqa: BLE001 (handed to the caller, who raises it)
                started.set_exception(error)
            else:
                self._logs.append((process, launch.log))
                started.set_result(process)

    def _bound_logs(self) -> None:
        self._logs = [pair for pair in self._logs if pair[0].poll() is None]
        for _, log in self._logs:
            try:
                bound_log(log, LOG_BYTES_MAX)
            except OSError as error:  # a full disk must not end this thread, and every server
                logging.getLogger(__name__).warning("cannot shorten %s: %s", log, error)


@functools.cache
def _keeper() -> Keeper:
    return Keeper()


# Threads do not survive a fork: a forked copy of this program needs its own.
os.register_at_fork(after_in_child=_keeper.cache_clear)


def _child_command(
    identity: Identity, death_signal: signal.Signals, folder: Path, command: Sequence[str]
) -> list[str]:
    numbers = (os.getpid(), death_signal, identity.inner_uid, identity.uid, identity.gid)
    return [
        sys.executable,
        # Isolated and without site packages: nothing of the caller's set-up runs here.
        "-I",
        "-S",
        str(CHILD),
        *(str(int(number)) for number in numbers),
        str(folder),
        *command,
    ]


def _status(pid: int) -> tuple[str, int] | None:
    """Return state letter and parent of a process, None when there is none."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent = line.rpartition(")")[2].split()[:2]
    return state, int(parent)


def _is_known(uid: int) -> bool:
    return any(account.pw_uid == uid for account in pwd.getpwall())


def _known_uid() -> int:
    """Return a uid that is not root and has a name: initdb looks its own name up."""
    return next((account.pw_uid for account in pwd.getpwall() if account.pw_uid != 0), 65534)


def _running_uids() -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield entry.stat().st_uid


def _spare_account() -> Identity:
    """Return an account nobody logs in to and no process uses: nobody else can reach us."""
    taken = {0, *_running_uids()}
    spare = [
        account
        for account in pwd.getpwall()
        if account.pw_uid not in taken and Path(account.pw_shell).name in NOLOGIN
    ]
    if not spare:
        raise ServerError(
            "as root a server needs a user namespace, which this machine refuses, or a spare"
            " account, which /etc/passwd lacks: run as an ordinary user, or set DATABASE_URL"
            " and REDIS_URL"
        )
    account = max(spare, key=lambda account: account.pw_name == "nobody")
    return Identity(uid=account.pw_uid, gid=account.pw_gid)
