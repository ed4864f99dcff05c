"""The command `exchequer`: what it says, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from app import cli
from app.core.database import Database
from app.credits import Credits
from app.identity import Identity
from db.driver import Connection
from tests.conftest import Servers
from tests.support.accounts import CREDIT, Accounts

EXCHEQUER = Path(sys.executable).with_name("exchequer")
COMMANDS = (
    "audit", "backfill-accounts", "bench", "dev", "export-schema", "migrate", "replay", "seed",
    "serve", "worker",
)  # fmt: skip


def _run(
    servers: Servers, name: str, *arguments: str, url: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, against a database of this test."""
    environment = {
        **os.environ,
        "DATABASE_URL": url or servers.app_url(name),
        "EXCHEQUER_MIGRATION_DATABASE_URL": servers.admin_url(name),
        "EXCHEQUER_STARTUP_WAIT_SECONDS": "0",
    }
    return subprocess.run(  # noqa: S603  # our own command
        [EXCHEQUER, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_command_explains_itself(command: str | None) -> None:
    arguments = ["--help"] if command is None else [command, "--help"]
    told = CliRunner().invoke(cli.main, arguments)
    assert told.exit_code == 0
    assert "Usage:" in told.output
    if command is None:
        assert all(name in told.output for name in COMMANDS)


def test_there_are_no_other_commands_to_explain() -> None:
    assert set(COMMANDS) == cli.main.commands.keys()


def test_bench_runs_the_benchmarks_of_the_checkout() -> None:
    told = subprocess.run(  # noqa: S603  # our own command
        [EXCHEQUER, "bench", "no_such"], capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == 2
    assert "there is no no_such" in told.stderr


def test_bench_without_a_checkout_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "app" / "cli.py"))
    told = CliRunner().invoke(cli.main, ["bench", "credits"])
    assert told.exit_code == 1
    assert told.output.startswith(f"Error: there are no benchmarks in {tmp_path}: ")
    assert told.output.count("\n") == 1


async def test_migrate_again_finds_nothing_to_do(servers: Servers, database_name: str) -> None:
    done = _run(servers, database_name, "migrate")
    # The clock of test databases is one that tests can move; its file is unchanged.
    assert done.stdout == "The database is up to date; 0 function files applied.\n"
    assert done.returncode == 0


async def test_seed_makes_the_default_project_once(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    first = _run(servers, database_name, "seed", "--demo")
    again = _run(servers, database_name, "seed", "--demo")
    assert first.returncode == 0, first.stderr
    assert again.stdout == first.stdout
    lines = dict(line.split() for line in first.stdout.splitlines())
    policy = await admin.fetchrow(
        "select p.* from credits.policies as p"
        " join identity.projects as q on q.id = p.project_id where q.slug = 'default'"
    )
    assert policy is not None
    assert str(policy["project_id"]) == lines["project"]
    assert policy["period_grant"] == 10 * CREDIT
    assert policy["increment"] == policy["minimum_charge"] == CREDIT // 4
    granted = await admin.fetchval(
        "select granted_total from credits.accounts where account_id = $1",
        UUID(lines["organization"]),
    )
    assert granted == 1_020 * CREDIT


async def test_audit_of_clean_books_says_so(
    servers: Servers, database_name: str, accounts: Accounts
) -> None:
    await accounts.open(10)
    done = _run(servers, database_name, "audit")
    assert done.stdout == "1 accounts audited, 0 findings.\n"
    assert done.returncode == 0


async def test_audit_names_what_is_wrong_and_fails(
    servers: Servers, database_name: str, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    await admin.execute(
        "update credits.grants set remaining = remaining - 1 where account_id = $1", account
    )
    done = _run(servers, database_name, "audit", "--account", str(account))
    assert done.returncode == 1
    assert str(account) in done.stdout
    assert "1 accounts audited" in done.stdout


async def test_audit_since_the_last_goes_on_from_its_marks(
    servers: Servers, database_name: str, accounts: Accounts, credits: Credits, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    deducted = await credits.deduct(account, CREDIT, "before")
    assert _run(servers, database_name, "audit").returncode == 0
    await credits.deduct(account, CREDIT, "since")
    # From before the mark, and so left to the full audit.
    await admin.execute("set session_replication_role = replica")
    await admin.execute(
        "update credits.transactions set estimated = 1 where version = $1", deducted.version
    )
    since = _run(servers, database_name, "audit", "--since-last")
    assert since.stdout == "1 accounts audited, 0 with nothing new skipped, 0 findings.\n"
    assert since.returncode == 0
    again = _run(servers, database_name, "audit", "--since-last")
    assert again.stdout == "0 accounts audited, 1 with nothing new skipped, 0 findings.\n"
    full = _run(servers, database_name, "audit")
    assert full.returncode == 1
    told, counted = full.stdout.splitlines()
    assert told.startswith(f"{account}  settlement  transaction {deducted.version}: ")
    assert counted == "1 accounts audited, 1 findings."
    # Until it is mended, each audit says so.
    doubted = _run(servers, database_name, "audit", "--since-last")
    assert doubted.returncode == 1
    assert doubted.stdout.splitlines() == [
        told,
        "1 accounts audited, 0 with nothing new skipped, 1 findings.",
    ]


async def test_backfill_opens_missing_accounts_alone(
    servers: Servers, database_name: str, accounts: Accounts, admin: Connection, database: Database
) -> None:
    existing = await accounts.open(10)
    [organization] = await Identity(database).organizations(organization_id=existing)
    missing = uuid4()
    await admin.execute(
        "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
        " values ($1, $2, 'Imported', now(), now())",
        missing,
        organization.project_id,
    )
    before = await accounts.balance(existing)
    assert _run(servers, database_name, "backfill-accounts").stdout == "1 accounts opened.\n"
    assert _run(servers, database_name, "backfill-accounts").stdout == "0 accounts opened.\n"
    assert await accounts.balance(existing) == before
    assert (await Credits(database).check_balance(missing)).balance.available == 0


def test_an_absent_postgres_is_one_line(servers: Servers) -> None:
    away = Servers("postgresql://nobody@127.0.0.1:9/none", servers.redis)
    done = _run(away, "none", "serve")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("exchequer: Postgres cannot be reached:")
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHEQUER_ENVIRONMENT", "production")
    told = CliRunner().invoke(cli.main, ["serve"])
    assert told.exit_code == 1
    assert "EXCHEQUER_SECRET_KEY is required in production" in told.output


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_an_unsafe_role_is_one_line(
    servers: Servers, database_name: str, command: str
) -> None:
    done = _run(servers, database_name, command, url=servers.admin_url(database_name))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("exchequer: DATABASE_URL logs in as a role that owns the tables")


def test_a_port_that_is_taken_is_one_line(
    servers: Servers, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        done = _run(servers, database_name, "serve")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("exchequer: cannot listen on 127.0.0.1, port ")


async def test_migrations_by_the_applications_role_are_one_line(
    servers: Servers, database_name: str, admin: Connection
) -> None:
    # One file has changed; the application's role may not apply it.
    await admin.execute(
        "update core.applied_functions set hash = '\\x00' where path = 'credits/reserve.sql'"
    )
    environment = {
        **os.environ,
        "DATABASE_URL": servers.app_url(database_name),
        "EXCHEQUER_STARTUP_WAIT_SECONDS": "0",
    }
    done = subprocess.run(  # noqa: ASYNC221, S603  # our own command
        [EXCHEQUER, "migrate"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "EXCHEQUER_MIGRATION_DATABASE_URL" in line


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("EXCHEQUER_SECRET_KEY", "short", "EXCHEQUER_SECRET_KEY: must have at least 32"),
        ("EXCHEQUER_ENVIRONMENT", "staging", "EXCHEQUER_ENVIRONMENT: Input should be"),
        ("PORT", "70000", "PORT: Input should be less than"),
        ("REDIS_URL", "foo", "REDIS_URL: must be an address such as redis://"),
        ("REDIS_URL", "", "REDIS_URL: must be an address such as redis://"),
        ("REDIS_URL", "redis://h:notaport", "REDIS_URL: must be an address such as redis://"),
        ("DATABASE_URL", "mysql://a:hunter2@b/c", "DATABASE_URL: must be an address such as"),
        ("DATABASE_URL", "postgresql://a:hunter2@b:no/c", "DATABASE_URL: must be an address"),
        ("DATABASE_URL", "postgresql://a:hunter2@127.0.0.1/c?sslmode=foo", "DATABASE_URL: "),
        ("EXCHEQUER_ALLOWED_ORIGINS", "no origin", "EXCHEQUER_ALLOWED_ORIGINS: 'no origin'"),
        ("EXCHEQUER_ALLOWED_ORIGINS", "https://*.example", "EXCHEQUER_ALLOWED_ORIGINS: 'https://*"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    # Some are found only once logging is set up, which is that of all tests here.
    monkeypatch.setattr(cli, "configure_logging", lambda *_, **__: None)
    done = CliRunner().invoke(cli.main, ["serve"])
    assert done.exit_code == 1
    [line] = done.output.splitlines()
    assert line.startswith(f"exchequer: {told}")
    assert "hunter2" not in line


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(cli.main, ["export-schema", "--folder", str(tmp_path / "file" / "x")])
    assert (done.exit_code, len(done.output.splitlines())) == (1, 1)


async def test_serve_runs_on_the_loop_and_the_parser_that_it_is_measured_with(
    servers: Servers, database_name: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        EXCHEQUER,
        "serve",
        env={
            **os.environ,
            "DATABASE_URL": servers.app_url(database_name),
            "REDIS_URL": servers.redis,
            "PORT": "0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"serve.listening" not in (line := await process.stderr.readline()):
            assert line, "ended too early"
    process.terminate()
    await process.communicate()
    said = json.loads(line)
    assert (said["loop"], said["http"]) == ("uvloop", "HttpTools")


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_who_is_told_to_stop_stops_well(
    servers: Servers, database_name: str, command: str, how: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        EXCHEQUER,
        command,
        env={
            **os.environ,
            "DATABASE_URL": servers.app_url(database_name),
            "REDIS_URL": servers.redis,
            "PORT": "0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    # Listening to Redis is the last thing that both begin with.
    async with asyncio.timeout(60):
        while b"bus.up" not in (line := await process.stderr.readline()):
            assert line, "ended too early"
    process.send_signal(how)
    rest = await process.stderr.read()
    assert await process.wait() == 0
    assert b"Traceback" not in rest
    assert b"Aborted" not in rest


def test_stale_generated_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "frontend-contract"
    folder.mkdir()
    runner = CliRunner()
    stale = runner.invoke(cli.main, ["export-schema", "--check", "--folder", str(folder)])
    assert stale.exit_code == 1
    named = [line.split("/")[-1].split(" ")[0] for line in stale.output.splitlines()]
    assert named == ["schema.graphql", "documents.json", "refusals.json", ".env.example"]
    assert runner.invoke(cli.main, ["export-schema", "--folder", str(folder)]).exit_code == 0
    fresh = runner.invoke(cli.main, ["export-schema", "--check", "--folder", str(folder)])
    assert (fresh.exit_code, fresh.output) == (0, "")
