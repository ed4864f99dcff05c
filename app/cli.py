"""The command `exchequer`."""

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import click
from pydantic import ValidationError

from app.core.audit import Finding
from app.core.database import Database, Misconfigured, Unavailable
from app.core.refusals import Refusal
from app.core.servers import ServerError
from app.core.telemetry import configure_logging
from app.replay.errors import ReplayError
from app.replay.plan import Options, Prices
from app.safety import CannotServeError, UnsafeError
from app.settings import Settings
from db.apply import FunctionsError

Result = TypeVar("Result")

_ABOVE_ZERO = click.FloatRange(0, min_open=True)
_PRICE_DIGITS = 7
_FILE_ERRORS = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)


class _Commands(click.Group):
    """Says in one line what a person at a terminal can do something about."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            for wrong in error.errors():
                reason = wrong["msg"].removeprefix("Value error, ")
                click.echo(f"exchequer: {_variable(wrong['loc'])}{reason}", err=True)
        except (ServerError, UnsafeError, CannotServeError, FunctionsError, ReplayError) as error:
            click.echo(f"exchequer: {error}", err=True)
        except Misconfigured as error:
            click.echo(f"exchequer: DATABASE_URL: {error}", err=True)
        except asyncpg.InsufficientPrivilegeError as error:
            click.echo(
                f"exchequer: Postgres refuses: {error.args[0]}. Migrations need a role that may"
                " create roles and schemas: EXCHEQUER_MIGRATION_DATABASE_URL",
                err=True,
            )
        except _FILE_ERRORS as error:
            click.echo(f"exchequer: {error}", err=True)
        except Unavailable as error:
            click.echo(f"exchequer: Postgres cannot be reached: {error}", err=True)
        except (
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
        ) as error:
            click.echo(f"exchequer: Postgres refuses the login: {error}", err=True)
        except Refusal as refusal:
            click.echo(f"exchequer: {refusal.message}", err=True)
        sys.exit(1)


def _variable(location: tuple[int | str, ...]) -> str:
    """Return the environment's name of a setting; nothing where several are meant."""
    if not location:
        return ""
    name = str(location[0])
    return f"{name if name.isupper() else f'EXCHEQUER_{name.upper()}'}: "


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="exchequer")
def main() -> None:
    """Exchequer: credits, entitlements and usage for AI products, over Postgres."""


@main.command()
@click.option("--fresh", is_flag=True, help="Forget the data of earlier starts.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of PORT or 8000.")
@click.option("--with-parent", is_flag=True, help="Stop when the starting process ends.")
def dev(*, fresh: bool, port: int | None, with_parent: bool) -> None:
    """Start Postgres, Valkey, worker and API on this machine, with demo data."""
    from app import dev as development  # noqa: PLC0415  # needs the servers' wheels

    configure_logging("warning", json=False)
    if with_parent:
        development.stop_with_parent()
    development.run(fresh=fresh, port=port)


@main.command()
def serve() -> None:
    """Serve the API."""
    from app.start import serve as start  # noqa: PLC0415  # help need not load the schema

    settings = _settings()
    _run(start(settings))


@main.command()
def worker() -> None:
    """Do timed work: expiry of reservations, periods of idle accounts, clean-ups."""
    from app.start import work  # noqa: PLC0415  # as above

    settings = _settings()
    _run(work(settings))


@main.command()
@click.option("--everything", is_flag=True, help="Apply every function file, changed or not.")
def migrate(*, everything: bool) -> None:
    """Bring the database to this release: roles, tables, functions."""
    from app.start import connect  # noqa: PLC0415
    from db.migrate import migrate as bring  # noqa: PLC0415  # loads alembic

    settings = _settings()
    app_url = settings.database_url if settings.migration_database_url else None

    async def work() -> list[str]:
        # Alembic does not wait for Postgres, and tells of its absence in 60 lines.
        reached = await connect(
            settings.model_copy(update={"database_url": settings.migration_url})
        )
        await reached.close()
        return await bring(settings.migration_url, everything=everything, app_url=app_url)

    applied = _run(work())
    click.echo(f"The database is up to date; {len(applied)} function files applied.")


@main.command()
@click.option("--demo", is_flag=True, help="Also a demo organization with 1,000 credits.")
def seed(*, demo: bool) -> None:
    """Make what an installation has from its first start; again is no harm."""
    from app.seed import seed as plant  # noqa: PLC0415
    from app.seed import seed_demo  # noqa: PLC0415

    async def work(database: Database) -> None:
        click.echo(f"project       {await plant(database)}")
        if demo:
            click.echo(f"organization  {(await seed_demo(database)).organization_id}")

    _with_database(work)


@main.command("backfill-accounts")
def backfill_accounts() -> None:
    """Open the credit account of every organization that has none."""
    from app.seed import backfill_accounts as backfill  # noqa: PLC0415

    opened = _with_database(backfill)
    click.echo(f"{opened} accounts opened.")


@main.command()
@click.option("--account", type=click.UUID, help="Only this organization's account.")
@click.option(
    "--since-last",
    is_flag=True,
    help="Only what came since an audit that found nothing; the rest was proven then.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=3_600,
    show_default=True,
    help="Seconds that each of its statements may take.",
)
def audit(account: UUID | None, *, since_last: bool, timeout: float) -> None:
    """Prove every invariant of the books; name the rows that break one. Exits with 1 if any.

    A thousand accounts at a time, each time as of one moment. Where nothing was found, the
    account is marked: --since-last goes on from there. Where something was, all of it is
    read, since the last too, until it is mended.
    """

    async def work(database: Database) -> bool:
        from app.credits import Credits  # noqa: PLC0415

        read = skipped = findings = 0
        async for page in Credits(database).audit_pages(account, since_last=since_last):
            for line in _told(page.findings):
                click.echo(line)
            read += page.read
            skipped += page.skipped
            findings += len(page.findings)
        left_out = f" {skipped} with nothing new skipped," if since_last else ""
        click.echo(f"{read} accounts audited,{left_out} {findings} findings.")
        return not findings

    # An account with millions of rows is one statement: longer than others may take.
    patient = _settings().model_copy(update={"database_command_seconds": timeout})
    if not _with_database(work, patient):
        sys.exit(1)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, metavar="[NAME]...", type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure, each figure with its control: credits, edge, ...; without a NAME all of them.

    Options go to the benchmarks; `exchequer bench -- --help` tells which there are.
    """
    root = Path(__file__).parents[1]
    if not (root / "benchmarks" / "__main__.py").is_file():
        raise click.ClickException(
            f"there are no benchmarks in {root}: they are part of a checkout, not of an image;"
            " clone the repository and run this there"
        )
    command = [sys.executable, "-m", "benchmarks", *arguments]
    # Paths in options are the caller's.
    found = {**os.environ, "PYTHONPATH": str(root)}
    sys.exit(subprocess.run(command, env=found, check=False).returncode)  # noqa: S603  # our own


@main.command()
@click.argument("trace", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--url", default="http://127.0.0.1:8000/graphql", show_default=True, help="The server."
)
@click.option(
    "--key",
    envvar="EXCHEQUER_KEY",
    required=True,
    help="Of a project, with the scope credits:grant; or the admin key. Or EXCHEQUER_KEY.",
)
@click.option("--project", type=click.UUID, help="Where to make organizations: with an admin key.")
@click.option("--speed", type=_ABOVE_ZERO, default=1, show_default=True, help="Times faster.")
@click.option(
    "--organizations",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How many make the calls between them.",
)
@click.option(
    "--exhausted",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many of them are granted half of what they would be charged.",
)
@click.option(
    "--microcredits-per-token",
    "prices",
    metavar="IN,OUT",
    default="10,30",
    show_default=True,
    callback=lambda _context, _parameter, value: _read_prices(value),
    help="The price of a token of a prompt, and of an answer.",
)
@click.option("--limit", type=click.IntRange(1), help="Only so many calls.")
@click.option("--seed", type=int, default=0, show_default=True, help="Who makes which call.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=64,
    show_default=True,
    help="Most requests under way at a time.",
)
@click.option(
    "--audit-database", metavar="URL", help="The server's Postgres, to audit. Or DATABASE_URL."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the raw results.",
)
def replay(audit_database: str | None, json_path: Path | None, **asked: Any) -> None:
    """Replay recorded LLM traffic and prove that every micro-credit adds up. Exits with 1 if not.

    TRACE is a CSV file with the columns TIMESTAMP, ContextTokens and GeneratedTokens. Each
    call reserves an upper bound, lasts 20 ms per generated token divided by the speed, and
    settles what was generated, from organizations that the replay makes for itself.
    """
    from app.replay.report import raw, summary  # noqa: PLC0415  # loads an HTTP client
    from app.replay.run import Results, run  # noqa: PLC0415

    if asked["exhausted"] > asked["organizations"]:
        raise click.BadParameter("more than --organizations", param_hint="--exhausted")
    options = Options(**asked)
    settings = _settings()
    if audit_database is not None:
        settings = settings.model_copy(update={"database_url": audit_database})

    async def audited(database: Database) -> Results:
        return await run(options, partial(_audit_accounts, database))

    # A default is no database that somebody named.
    if "database_url" in settings.model_fields_set:
        results = _with_database(audited, settings)
    else:
        results = _run(run(options))
    if json_path is not None:
        json_path.write_bytes(raw(results))
    for line in summary(results):
        click.echo(line)
    if results.problems:
        sys.exit(1)


@main.command("export-schema")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("frontend-contract"),
    show_default=True,
    help="Where to write.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file is stale.")
def export_schema(*, folder: Path, check: bool) -> None:
    """Write what is generated: the SDL, the refusals, .env.example."""
    from app.export import export  # noqa: PLC0415

    stale = export(folder, check=check)
    for path in stale:
        click.echo(f"{path} {'is stale: run `exchequer export-schema`' if check else 'written'}")
    if check and stale:
        sys.exit(1)


async def _findings(database: Database, account: UUID) -> list[str]:
    from app.credits import Credits  # noqa: PLC0415
    from app.usage import Usage  # noqa: PLC0415

    return _told([*await Credits(database).audit(account), *await Usage(database).audit(account)])


def _told(findings: Sequence[Finding]) -> list[str]:
    return [
        f"{finding.account_id}  {finding.invariant}  {finding.subject}:"
        f" expected {finding.expected}, found {finding.actual}"
        for finding in findings
    ]


async def _audit_accounts(database: Database, accounts: Sequence[str]) -> list[str]:
    try:
        return [line for account in accounts for line in await _findings(database, UUID(account))]
    except (Refusal, Unavailable) as error:
        # The replay is done: its summary must not be lost to this.
        return [f"could not be run: {error}"]


def _read_prices(text: str) -> Prices:
    parts = text.split(",")
    if len(parts) != len(fields(Prices)) or not all(
        part.isascii() and part.isdigit() and len(part) <= _PRICE_DIGITS for part in parts
    ):
        raise click.BadParameter("must be two whole numbers below 10^7, such as 10,30")
    return Prices(*map(int, parts))


def _settings() -> Settings:
    settings = Settings()
    configure_logging(settings.log_level, json=settings.log_format == "json")
    return settings


def _run(work: Awaitable[Result]) -> Result:
    from app.core.loop import run  # noqa: PLC0415  # as above

    async def main() -> Result:
        return await work

    return run(main())


def _with_database(
    work: Callable[[Database], Awaitable[Result]], settings: Settings | None = None
) -> Result:
    from app.start import connect  # noqa: PLC0415

    chosen = settings or _settings()

    async def connected() -> Result:
        database = await connect(chosen)
        try:
            return await work(database)
        finally:
            await database.close()

    return _run(connected())


if __name__ == "__main__":
    main()
