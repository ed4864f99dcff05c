"""What every local server has in common: start, wait, stop, kill."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.core.servers.folder import DataFolder, note_holders
from app.core.servers.processes import (
    POLL_SECONDS,
    Launch,
    ServerError,
    kill_family,
    shortened,
)

HOST = "127.0.0.1"
PORT_ATTEMPTS = 5
STOP_SECONDS = 30.0  # an orderly end writes a checkpoint
PORT_TAKEN = "Address already in use"


class LocalServer(ABC):
    """A real server on 127.0.0.1 that lives no longer than this program.

    `port` 0 picks a free one. Starting a folder that was used before resumes it.
    """

    name: ClassVar[str]
    setting: ClassVar[str]  # the environment variable that points to a server elsewhere
    stop_signal: ClassVar[signal.Signals]
    death_signal: ClassVar[signal.Signals]  # sent by the kernel when this program is gone

    def __init__(self, folder: Path | str, *, port: int | None, start_seconds: float) -> None:
        self._data = DataFolder(Path(folder))
        self._port_wanted = port or 0
        self._port = 0
        self._password = ""
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self._data.path

    @property
    def log(self) -> Path:
        """What the server said."""
        return self._data.log

    @property
    def port(self) -> int:
        """The port it listens on."""
        self._require_started()
        return self._port

    @property
    def password(self) -> str:
        """The superuser's password."""
        self._require_started()
        return self._password

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._require_started().pid

    @property
    def running(self) -> bool:
        """Whether it was started and still lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start or resume, and return when connections are accepted."""
        if self.running:
            raise ServerError(f"{self.name} in {self.folder} is already started")
        try:
            with self._data.opened() as launch:
                self._prepare(launch)
                self._process = self._start_on_some_port(launch)
                note_holders(launch.lock, os.getpid(), self._process.pid)
        except (OSError, subprocess.SubprocessError) as error:
            raise ServerError(
                f"{self.name} cannot be started in {self.folder} ({error}): mend that, choose"
                f" another folder, or set {self.setting}"
            ) from error

    def stop(self) -> None:
        """Let it end in its own order; returns when no process of it is left."""
        self._end(self.stop_signal, STOP_SECONDS)

    def kill(self) -> None:
        """End it and its children as a crash would: nothing is flushed, nothing is said."""
        if self._process is not None:
            kill_family(self._process)
            self._data.clear()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self, launch: Launch) -> None:
        """Make the folder's content, the first time or after a crash."""

    @abstractmethod
    def _command(self, launch: Launch, port: int) -> Sequence[str]:
        """Return the command that serves the folder on a port."""

    @abstractmethod
    def _is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Whether this very process accepts connections now."""

    def _end(self, how: signal.Signals, seconds: float) -> None:
        """Ask it to end; when it does not within the time, kill it and say so."""
        process = self._process
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerError(
                f"{self.name} in {self.folder} did not stop within {seconds:g} seconds and was"
                f" killed: see {self.log}"
            ) from error
        self._data.clear()
        self._process = None

    def _start_on_some_port(self, launch: Launch) -> subprocess.Popen[bytes]:
        # A free port can be taken between our look and the server's bind: look again.
        for _ in range(1 if self._port_wanted else PORT_ATTEMPTS):
            port = self._port_wanted or free_port()
            offset = self.log.stat().st_size
            process = launch.spawn(self._command(launch, port), self.death_signal)
            try:
                ready = self._becomes_ready(process, port)
            except BaseException:
                kill_family(process)
                raise
            if ready:
                self._port = port
                return process
            said = launch.said(offset)
            if PORT_TAKEN not in said:
                raise ServerError(
                    f"{self.name} ended with code {process.returncode} before it was ready:"
                    f" {shortened(said)} (see {self.log})"
                )
        raise ServerError(
            f"{self.name} finds port {self._port_wanted or 'after port'} taken: choose another"
            f" port, or set {self.setting}"
        )

    def _becomes_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Wait for it; False when the process ended instead."""
        deadline = time.monotonic() + self._start_seconds
        while process.poll() is None:
            if self._is_ready(process, port):
                return True
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{self.name} in {self.folder} was not ready within"
                    f" {self._start_seconds:g} seconds (it may be recovering: give it more"
                    f" start_seconds): see {self.log}"
                )
            time.sleep(POLL_SECONDS)
        return False

    def _require_started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} in {self.folder} is not started: call start()")
        return self._process


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
