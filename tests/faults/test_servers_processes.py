"""The local servers' processes: never left behind, whoever starts them and whatever dies."""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis import asyncio as aioredis

from app.core.servers import PostgresServer, ServerError, ValkeyServer, folder, postgres, processes

ROOT = Path(__file__).parents[2]
PACKAGES = Path(asyncpg.__file__).parents[1]
AS_ROOT = os.geteuid() == 0
NOBODY, UNKNOWN = 65534, 54321
PATIENCE_SECONDS = 20.0
DROPPED = pytest.param(
    "dropped", marks=pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
)

# A program that starts both servers, tells where they are, and waits to be killed.
PARENT = """
import json, sys
from pathlib import Path
from app.core.servers import PostgresServer, ValkeyServer, processes
folder, way = Path(sys.argv[1]), sys.argv[2]
if way == "dropped":
    processes.namespace_allowed = lambda: False
postgres, valkey = PostgresServer(folder / "postgres", durable=False), ValkeyServer(folder / "v")
postgres.start()
valkey.start()
print(json.dumps([postgres.url("postgres"), valkey.url(), postgres.pid, valkey.pid]), flush=True)
sys.stdin.read()
"""

# A program that has a server, forks, and has another in its copy; both end at end of input.
FORKED = """
import os, sys
from pathlib import Path
from app.core.servers import ValkeyServer
def serve(name):
    server = ValkeyServer(Path(sys.argv[1]) / name)
    server.start()
    print(server.pid, flush=True)
serve("first")
copy = os.fork()
if copy == 0:
    serve("second")
    sys.stdin.read()
else:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))
"""

# A program that is root in name only: neither namespaces nor other users are to be had.
REFUSED = """
import sys
from pathlib import Path
from app.core.servers import PostgresServer, ServerError
Path("/proc/sys/user/max_user_namespaces").write_text("0")
try:
    PostgresServer(sys.argv[1]).start()
except ServerError as error:
    print(error)
"""

BOTH_ACTIVE = """
do $wait$ begin
    while 2 > (
        select count(*) from pg_stat_activity where query ~ '^(do .a. begin|select pg_sleep)'
    ) loop
        perform pg_sleep(0.01), pg_stat_clear_snapshot();
    end loop;
end $wait$
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.005)


def family(pid: int) -> list[int]:
    return [pid, *(each for child in processes.children(pid) for each in family(child))]


def gone(pids: list[int]) -> bool:
    return not any(processes.is_running(pid) for pid in pids)


def uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


async def answer(url: str, query: str, *values: object) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close(timeout=10)


@contextlib.contextmanager
def program(
    text: str, *arguments: str, python: str = sys.executable, uid: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    user = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    with subprocess.Popen(  # noqa: S603 (our own program)
        [python, "-c", text, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{PACKAGES}"},
        cwd="/",
        **user,  # type: ignore[call-overload]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder every user may pass, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="servers-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def without_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    if not AS_ROOT:
        pytest.skip("only root can become another user")
    monkeypatch.setattr(processes, "namespace_allowed", lambda: False)


def require_reachable(program: Path | str, uid: int = NOBODY) -> None:
    test = subprocess.run(  # noqa: S603 (fixed words)
        ["/usr/bin/test", "-x", str(program)], user=uid, group=uid, extra_groups=[], check=False
    )
    if test.returncode != 0:
        pytest.skip(f"{program} lies where other users may not pass")


def python_for_everybody() -> str:
    """Find a Python outside of root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        enough = "import sys; sys.exit(sys.version_info < (3, 11))"
        with contextlib.suppress(OSError), program(enough, python=python, uid=NOBODY) as attempt:
            if attempt.wait(PATIENCE_SECONDS) == 0:
                return python
    pytest.skip("no Python 3.11 that other users may run")


@pytest.mark.parametrize("way", ["own", DROPPED])
async def test_a_killed_program_leaves_no_server_behind(open_folder: Path, way: str) -> None:
    if way == "dropped":
        require_reachable(PostgresServer(open_folder).binaries / "postgres")
    with program(PARENT, str(open_folder), way) as parent:
        assert parent.stdout is not None
        url, valkey_url, postgres_pid, valkey_pid = json.loads(parent.stdout.readline())
        assert (uid_of(postgres_pid) == os.geteuid()) is (way == "own")
        # One backend computes and never looks up, one waits, one client stays connected.
        connections = [await asyncpg.connect(url) for _ in range(3)]
        client = aioredis.from_url(valkey_url)
        await client.ping()
        busy = asyncio.gather(
            connections[0].execute("do $a$ begin loop end loop; end $a$"),
            connections[1].execute("select pg_sleep(3600)"),
            return_exceptions=True,
        )
        await connections[2].execute(BOTH_ACTIVE, timeout=10)
        pids = [*family(postgres_pid), valkey_pid]
        parent.kill()
        until(lambda: gone(pids), "a server outlives the program that started it")
        await busy
        await client.aclose()
        for connection in connections:
            connection.terminate()
    with PostgresServer(open_folder / "postgres", durable=False) as resumed:
        assert await answer(resumed.url("postgres"), "select 1") == 1


async def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    valkey = ValkeyServer(tmp_path)
    thread = threading.Thread(target=valkey.start)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    with contextlib.closing(socket.create_connection(("127.0.0.1", valkey.port))) as connection:
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert valkey.running
    valkey.stop()


def test_a_child_whose_parent_is_gone_does_not_start(tmp_path: Path) -> None:
    # Pid 1 is alive, but not its parent: as if the parent had died before the request.
    numbers = ["1", "9", "-1", "-1", "-1"]
    ended = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, str(processes.CHILD), *numbers, str(tmp_path), "/bin/echo", "started"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is gone: not started" in ended.stderr


def test_a_child_sees_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "secret")
    monkeypatch.setenv("PGDATA", "/elsewhere")
    with folder.DataFolder(tmp_path).opened() as launch:
        launch.run(["/usr/bin/env"], 10)
        names = {line.partition("=")[0] for line in launch.said(0).splitlines()}
    assert names <= {"LC_ALL", *processes.ENVIRONMENT_KEPT}
    assert "LC_ALL" in names


def test_a_forked_program_starts_servers_of_its_own(tmp_path: Path) -> None:
    with program(FORKED, str(tmp_path)) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        assert not gone(pids[:1])
        assert not gone(pids[1:])
        # Both just end, without a word to their servers.
        assert parent.stdin is not None
        parent.stdin.close()
        assert parent.wait(PATIENCE_SECONDS) == 0
    until(lambda: gone(pids), "a server outlives the program that started it")


async def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres" / postgres.HALF_MADE
    with program(PARENT, str(tmp_path), "own") as parent:
        until((half_made / "base" / "1").exists, "initdb does not begin")
        pids = family(parent.pid)
        parent.kill()
        until(lambda: gone(pids), "initdb outlives the program that started it")
    assert half_made.exists()
    assert not half_made.with_name(postgres.CLUSTER).exists()
    with PostgresServer(tmp_path / "postgres", durable=False) as healed:
        assert await answer(healed.url("postgres"), "select 1") == 1
    assert not half_made.exists()


@pytest.mark.usefixtures("without_namespace")
async def test_root_without_namespaces_becomes_another_user(open_folder: Path) -> None:
    server = PostgresServer(open_folder / "postgres", durable=False)
    require_reachable(server.binaries / "postgres")
    for _ in range(2):
        with server, ValkeyServer(open_folder / "valkey") as valkey:
            owner = (open_folder / "postgres").stat().st_uid
            assert owner != 0
            assert {uid_of(pid) for pid in family(server.pid)} == {owner}
            assert uid_of(valkey.pid) != 0
            assert await answer(server.url("postgres"), "select 1") == 1
            files = [*server.folder.rglob("*"), *valkey.folder.rglob("*")]
            assert 0 not in {path.stat().st_uid for path in files}


async def orphans(url: str, postmaster: int) -> list[int]:
    """Kill a postmaster, as the kernel does short of memory, under a backend that computes."""
    client = await asyncpg.connect(url)
    busy = asyncio.create_task(client.execute("do $a$ begin loop end loop; end $a$"))
    await answer(url, BOTH_ACTIVE.replace("2 >", "1 >"))
    pids = family(postmaster)
    os.kill(postmaster, signal.SIGKILL)
    until(lambda: not processes.is_running(postmaster), "a killed process stays")
    client.terminate()
    with pytest.raises((asyncpg.PostgresError, ConnectionError)):
        await busy
    assert not gone(pids)
    return pids


async def test_stop_ends_what_a_killed_postmaster_left(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, durable=False)
    server.start()
    pids = await orphans(server.url("postgres"), server.pid)
    server.stop()
    until(lambda: gone(pids), "a backend outlives its postmaster")


async def test_a_start_ends_what_a_killed_program_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "OWNER_GONE_SECONDS", 0.1)
    with program(PARENT, str(tmp_path), "own") as parent:
        assert parent.stdout is not None
        url, _, postgres_pid, _ = json.loads(parent.stdout.readline())
        pids = await orphans(url, postgres_pid)
    with PostgresServer(tmp_path / "postgres", durable=False) as resumed:
        until(lambda: gone(pids), "a backend outlives its postmaster")
        assert await answer(resumed.url("postgres"), "select 1") == 1


@pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
def test_root_serves_a_folder_as_its_owner(open_folder: Path) -> None:
    server = ValkeyServer(open_folder)
    require_reachable(server.binary, UNKNOWN)
    os.chown(open_folder, UNKNOWN, UNKNOWN)
    with server:
        assert uid_of(server.pid) == UNKNOWN
        assert {path.stat().st_uid for path in open_folder.rglob("*")} == {UNKNOWN}


@pytest.mark.usefixtures("without_namespace")
def test_a_folder_the_other_user_cannot_reach_is_said_in_one_line(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(ServerError, match=r"^[^\n]*uid \d+ cannot reach [^\n]*$"):
        PostgresServer(private / "postgres").start()


def test_root_that_may_nothing_is_told_so_in_one_line(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if not (AS_ROOT and unshare and processes.namespace_allowed()):
        pytest.skip("only root with namespaces can set this up")
    # Limited inside a namespace of its own: nobody else on the machine notices.
    command = [unshare, "--user", "--map-root-user", sys.executable, "-c", REFUSED, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert told.stderr == ""
    assert told.stdout.count("\n") == 1
    assert "refuses user namespaces and other users alike" in told.stdout


@pytest.mark.usefixtures("without_namespace")
def test_root_without_a_spare_account_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwall", lambda: [pwd.getpwuid(0)])
    with pytest.raises(ServerError, match="refuses, or a spare account, which /etc/passwd lacks"):
        ValkeyServer(tmp_path).start()


async def test_a_private_home_is_no_obstacle(tmp_path: Path) -> None:
    private = tmp_path / "home"
    private.mkdir(mode=0o700)
    with PostgresServer(private / "postgres", durable=False) as started:
        assert await answer(started.url("postgres"), "select 1") == 1
        assert uid_of(started.pid) == os.geteuid()
        assert os.getpgid(started.pid) != os.getpgid(0)  # Ctrl-C does not reach it
        owners = {path.stat().st_uid for path in private.rglob("*")}
        assert owners == {os.geteuid()}


@pytest.mark.skipif(not AS_ROOT, reason="every test here already runs as an ordinary user")
@pytest.mark.parametrize("uid", [NOBODY, UNKNOWN])
async def test_an_ordinary_user_needs_nothing(open_folder: Path, uid: int) -> None:
    require_reachable(PostgresServer(open_folder).binaries / "postgres", uid)
    require_reachable(ROOT / "app", uid)
    python = python_for_everybody()
    os.chown(open_folder, uid, uid)
    with program(PARENT, str(open_folder), "own", python=python, uid=uid) as parent:
        assert parent.stdout is not None
        url, _, postgres_pid, valkey_pid = json.loads(parent.stdout.readline())
        assert {uid_of(postgres_pid), uid_of(valkey_pid)} == {uid}
        assert await answer(url, "select 1") == 1
        pids = [*family(postgres_pid), valkey_pid]
        parent.kill()
        until(lambda: gone(pids), "a server outlives the program that started it")
