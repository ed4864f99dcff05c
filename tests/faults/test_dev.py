"""`make dev` in a fresh clone, as a new user runs it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.core.servers.folder import DataFolder
from app.core.servers.local import free_port
from app.core.servers.processes import children, is_running

ROOT = Path(__file__).parents[2]
EXCHEQUER = Path(sys.executable).with_name("exchequer")
START_SECONDS = 240
END_SECONDS = 30


class Started:
    """A started `dev`: its process and what it printed."""

    def __init__(
        self, command: list[str], folder: Path, home: Path, output: Path, port: int
    ) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("EXCHEQUER", "XDG_"))},
            "HOME": str(home),
            "PORT": str(port),
        }
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> str:
        """Wait until it serves; return what it printed."""
        until = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything." not in self.printed():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() < until, self.printed()
            time.sleep(0.05)
        return self.printed()

    def family(self) -> list[int]:
        """Return the process and all that descend from it."""
        found = [self.process.pid]
        for pid in found:
            found.extend(children(pid))
        return found

    def end(self, how: signal.Signals) -> None:
        os.killpg(self.process.pid, how)
        self.process.wait(END_SECONDS)


def _gone(pids: list[int]) -> bool:
    until = time.monotonic() + END_SECONDS
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "clone"
    subprocess.run(  # noqa: S603  # git itself
        ["git", "clone", "--quiet", str(ROOT), str(folder)],  # noqa: S607
        check=True,
    )
    yield folder
    shutil.rmtree(folder)


def _query(printed: str, port: int) -> dict[str, object]:
    """Send the first query that was printed."""
    matched = re.search(r"Bearer (\S+)' \\\n\s+-d '(.*)'", printed)
    assert matched is not None, printed
    key, body = matched.groups()
    answer = httpx.post(
        f"http://127.0.0.1:{port}/graphql",
        headers={"Authorization": f"Bearer {key}"},
        json=json.loads(body),
        timeout=30,
    )
    result: dict[str, object] = answer.json()
    return result


@pytest.mark.timeout(600)
def test_a_fresh_clone_serves_stops_and_resumes(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    first = Started(["make", "dev"], clone, home, tmp_path / "first.log", port)
    printed = first.wait()
    assert f"http://127.0.0.1:{port}/graphql" in printed
    answer = _query(printed, port)
    assert answer == {
        "data": {
            "creditBalance": {
                "available": "1020",
                "reserved": "0",
                "spendable": "1020",
                "version": 4,
            }
        },
        "extensions": {"cost": {"requested": 1, "maximum": 5000}},
    }
    family = first.family()
    assert len(family) > 3
    first.end(signal.SIGINT)
    assert _gone(family)

    again = Started(["make", "dev"], clone, home, tmp_path / "again.log", port)
    resumed = again.wait()
    keys = [re.search(r"Key +(exq_p_\w+)", text) for text in (printed, resumed)]
    assert keys[0] is not None
    assert keys[1] is not None
    assert keys[0].group(1) == keys[1].group(1)
    assert _query(resumed, port) == answer

    # Killing make, and nothing else, must leave nothing behind.
    family = again.family()
    again.process.send_signal(signal.SIGKILL)
    again.process.wait(END_SECONDS)
    assert _gone(family)


def test_killed_it_leaves_no_server_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other programs' variable: what it says is no address here.
    monkeypatch.setenv("HOST", "x86_64-conda-linux-gnu")
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    command = [str(EXCHEQUER), "dev"]
    first = Started(command, ROOT, home, tmp_path / "first.log", port)
    printed = first.wait()
    family = first.family()
    assert len(family) > 3
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(END_SECONDS)
    assert _gone(family)

    again = Started(command, ROOT, home, tmp_path / "again.log", port)
    assert _query(again.wait(), port) == _query(printed, port)
    second = Started(command, ROOT, home, tmp_path / "second.log", free_port())
    assert second.process.wait(60) == 1
    assert "exchequer: " in second.printed()
    assert "Traceback" not in second.printed()
    again.end(signal.SIGTERM)


def test_fresh_forgets_the_installation_and_no_other_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    first = Started([str(EXCHEQUER), "dev"], ROOT, home, tmp_path / "first.log", port)
    key = re.search(r"exq_p_\w+", first.wait())
    running = Started(
        [str(EXCHEQUER), "dev", "--fresh"], ROOT, home, tmp_path / "running.log", free_port()
    )
    assert running.process.wait(60) == 1
    assert "is running on" in running.printed()
    assert _query(first.printed(), port)["data"]
    first.end(signal.SIGINT)
    own = home / ".local" / "share" / "exchequer" / "thesis.txt"
    own.write_text("mine", encoding="utf-8")
    fresh = Started([str(EXCHEQUER), "dev", "--fresh"], ROOT, home, tmp_path / "fresh.log", port)
    other = re.search(r"exq_p_\w+", fresh.wait())
    fresh.end(signal.SIGINT)
    assert key is not None
    assert other is not None
    assert key.group() != other.group()
    assert own.read_text(encoding="utf-8") == "mine"


def _refused(home: Path, output: Path, **environment: str) -> str:
    """Start where it cannot start; return the one line it says."""
    with output.open("wb") as file:
        done = subprocess.run(  # noqa: S603  # our own command
            [EXCHEQUER, "dev", "--fresh"],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PORT": "0", **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    [line] = output.read_text(encoding="utf-8").splitlines()
    assert line.startswith("exchequer: ")
    return line


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine", encoding="utf-8")
    told = _refused(tmp_path, tmp_path / "log", EXCHEQUER_HOME=str(precious))
    assert f"{precious} is not empty" in told
    assert "EXCHEQUER_HOME" in told
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_a_home_that_cannot_hold_data_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "cannot use" in _refused(file, tmp_path / "log")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "exchequer-data").touch()
    (broken / "secrets.json").write_text("{", encoding="utf-8")
    arguments = [str(EXCHEQUER), "dev"]
    done = subprocess.run(  # noqa: S603  # our own command
        arguments,
        env={"PATH": os.environ["PATH"], "EXCHEQUER_HOME": str(broken)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"exchequer: {broken}/secrets.json cannot be read")
    assert len(done.stderr.splitlines()) == 1


def test_it_listens_for_this_machine_alone_and_says_what_port_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = Started([str(EXCHEQUER), "dev"], ROOT, home, tmp_path / "no.log", port)
        assert refused.process.wait(START_SECONDS) == 1
        assert f"cannot listen on 127.0.0.1, port {port}" in refused.printed()
        assert "Traceback" not in refused.printed()
    # Its servers have ended: nobody holds their folders.
    data = home / ".local" / "share" / "exchequer"
    for name in ("postgres", "valkey"):
        with DataFolder(data / name).opened():
            pass
