"""Postgres: one pool, typed calls of SQL functions, refusals recognised by SQLSTATE.

A call is one statement in autocommit: the locks it takes live only while the server
works, not while packets travel.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

import asyncpg
import orjson

from app.core.refusals import BY_SQLSTATE, Refusal
from app.core.telemetry import DATABASE_SECONDS
from db.driver import Connection, Pool

Row = TypeVar("Row")

# Errors that leave open whether a statement took effect. The answer to all of them is
# the same request again, with the same key.
UNKNOWN_OUTCOME = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What a connection says that was told its end while nobody asked, and is asked then.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
)


# How much longer than Postgres has for a statement its answer is waited for.
GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections, and how long to wait for what, in seconds."""

    max_size: int = 20
    min_size: int = 2
    acquire_seconds: float = 5.0
    connect_seconds: float = 10.0
    command_seconds: float = 10.0
    idle_seconds: float = 30.0


class _PooledConnection(Connection):
    """A connection whose return to the pool costs no round trip.

    Safe because nothing here leaves state in a session: no SET without LOCAL, no
    session lock, no LISTEN, no open cursor. But who is broken off between the preparation
    of a statement and its execution leaves it begun: its locks are held, and the time-out
    of the next statement counts from there.
    """

    _is_broken_off = False

    def break_off(self) -> None:
        """Note that what was begun may not have ended."""
        self._is_broken_off = True

    def get_reset_query(self) -> str:
        broken_off, self._is_broken_off = self._is_broken_off, False
        return "select" if broken_off else ""


class Database:
    """The application's way to Postgres."""

    def __init__(self, pool: Pool, url: str, limits: PoolLimits) -> None:
        self._pool = pool
        self._url = url
        self._limits = limits

    @classmethod
    async def connect(cls, url: str, limits: PoolLimits | None = None) -> "Database":
        """Open the pool; raises `Unavailable` if Postgres cannot be reached."""
        limits = limits or PoolLimits()
        with _recognised():
            pool = await asyncpg.create_pool(
                url,
                min_size=limits.min_size,
                max_size=limits.max_size,
                timeout=limits.connect_seconds,
                # Postgres ends it first, and then it is known that nothing was done.
                command_timeout=limits.command_seconds + GRACE_SECONDS,
                max_inactive_connection_lifetime=limits.idle_seconds,
                connect=_Connecting(),
                connection_class=_PooledConnection,
                init=prepare_connection,
                server_settings=server_settings(limits.command_seconds),
            )
        return cls(pool, url, limits)

    async def close(self) -> None:
        """Close the pool; calls under way may finish, within the command time-out."""
        try:
            async with asyncio.timeout(self._limits.command_seconds):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @property
    def limit(self) -> int:
        """How many connections there may be."""
        return self._limits.max_size

    @property
    def size(self) -> tuple[int, int]:
        """How many connections are open, and how many of them are idle."""
        return self._pool.get_size(), self._pool.get_idle_size()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection; faults become `Refusal` as in `call`."""
        with _recognised():
            # The driver's own time-out makes a task for each.
            async with asyncio.timeout(self._limits.acquire_seconds):
                connection = await self._pool.acquire()
            try:
                # The pool lends a proxy that behaves as the connection it stands for.
                yield cast("Connection", connection)
            except BaseException as error:
                # What Postgres refuses, it ends; the driver refuses arguments before that.
                if not isinstance(error, asyncpg.PostgresError) or isinstance(
                    error, asyncpg.DataError
                ):
                    cast("_PooledConnection", connection).break_off()
                raise
            finally:
                await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, for work that moves no credits."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def call(
        self,
        row: type[Row],
        function: str,
        connection: Connection | None = None,
        /,
        **arguments: Any,
    ) -> list[Row]:
        """Call a SQL function by name and return its rows as `row`, a dataclass.

        The dataclass names the columns; a field that is itself a dataclass takes the
        columns it names, or None when the first of them is null.
        """
        statement = _statement(row, function, tuple(arguments))
        started = time.perf_counter()
        try:
            if connection is not None:
                with _recognised():
                    records = await connection.fetch(statement, *arguments.values())
            else:
                async with self.connection() as lent:
                    records = await lent.fetch(statement, *arguments.values())
        finally:
            DATABASE_SECONDS.labels(function).observe(time.perf_counter() - started)
        build = _builder(row)
        return [build(record) for record in records]

    async def call_one(
        self,
        row: type[Row],
        function: str,
        connection: Connection | None = None,
        /,
        **arguments: Any,
    ) -> Row:
        """Call a SQL function that answers exactly one row."""
        [result] = await self.call(row, function, connection, **arguments)
        return result

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one reading statement."""
        async with self.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def probe(self, statement: str) -> None:
        """Run a statement on a connection made for it alone."""
        try:
            with _recognised():
                connection = await asyncpg.connect(
                    self._url,
                    timeout=self._limits.connect_seconds,
                    command_timeout=self._limits.command_seconds,
                    server_settings=server_settings(self._limits.command_seconds),
                )
                try:
                    await connection.execute(statement)
                finally:
                    await connection.close()
        except asyncpg.PostgresError as error:
            # A login that is refused, a database or a function that is not there.
            raise Unavailable(str(error)) from error

    async def value(
        self, statement: str, *arguments: Any, connection: Connection | None = None
    ) -> Any:
        """Run one statement and return its single value."""
        if connection is not None:
            with _recognised():
                return await connection.fetchval(statement, *arguments)
        async with self.connection() as lent:
            return await lent.fetchval(statement, *arguments)


def server_settings(command_seconds: float) -> dict[str, str]:
    """Return the settings of a session: every wait has an end. See also app.safety."""
    return {
        "application_name": "exchequer",
        "timezone": "UTC",
        "lock_timeout": "2000",
        # The server ends what the client no longer waits for.
        "statement_timeout": str(int(command_seconds * 1000)),
        "idle_in_transaction_session_timeout": "10000",
        "default_transaction_isolation": "read committed",
    }


class _Connecting:
    """Makes a pool's connections, and never breaks off in the middle.

    The driver, where it is cancelled then, leaves an error that nobody reads, which the log
    would tell as a fault; every client that leaves while the pool grows would cause one. So
    what is being made goes to the next who asks, and there are never more than the pool has.
    """

    def __init__(self) -> None:
        self._spare: list[asyncio.Future[Connection]] = []

    async def __call__(self, *arguments: Any, **options: Any) -> Connection:
        """Return a new connection."""
        if self._spare:
            making = self._spare.pop()
        else:
            making = asyncio.ensure_future(asyncpg.connect(*arguments, **options))
            making.add_done_callback(self._made)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._spare.append(making)
            if making.done():
                self._made(making)
            raise

    def _made(self, making: "asyncio.Future[Connection]") -> None:
        if making in self._spare:
            self._spare.remove(making)
            # That it failed is read, and concerns nobody.
            if not making.cancelled() and making.exception() is None:
                making.result().terminate()


async def prepare_connection(connection: Connection) -> None:
    """Teach a new connection JSON; in binary, because composites carry it too."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


class Misconfigured(Exception):  # noqa: N818  # as Unavailable
    """What leads to Postgres cannot be right, however long one waits."""


class Unavailable(Exception):  # noqa: N818  # named for what the caller sees
    """Postgres could not be asked, or did not answer: whether it acted is unknown."""


class TimedOut(Unavailable):
    """Postgres ended a statement that took too long: it did nothing."""


@contextmanager
def _recognised() -> Iterator[None]:
    """Turn coded SQLSTATEs into refusals and lost connections into `Unavailable`."""
    try:
        yield
    except asyncpg.PostgresError as error:
        entry = BY_SQLSTATE.get(error.sqlstate or "")
        if entry is not None:
            detail = getattr(error, "detail", None)
            facts = orjson.loads(detail) if entry.facts and detail else {}
            raise Refusal(entry.code, facts) from error
        if isinstance(error, asyncpg.QueryCanceledError):
            raise TimedOut(str(error)) from error
        if isinstance(error, UNKNOWN_OUTCOME):
            raise Unavailable(str(error)) from error
        raise
    except asyncpg.ClientConfigurationError as error:
        raise Misconfigured(str(error)) from error
    except UNKNOWN_OUTCOME as error:
        raise Unavailable(str(error) or type(error).__name__) from error


def columns_of(row: type[Any]) -> list[str]:
    """Return the columns a row type takes, nested row types included, in order."""
    names: list[str] = []
    for name, nested in _shape(row):
        names.extend(columns_of(nested) if nested is not None else [name])
    return names


_Shape = tuple[tuple[str, type[Any] | None], ...]
_SHAPES: dict[type[Any], _Shape] = {}
_STATEMENTS: dict[tuple[type[Any], str, tuple[str, ...]], str] = {}
_BUILDERS: dict[type[Any], Callable[[Any], Any]] = {}


def _shape(row: type[Any]) -> _Shape:
    if row not in _SHAPES:
        hints = get_type_hints(row)
        _SHAPES[row] = tuple((f.name, _nested(hints[f.name])) for f in fields(row))
    return _SHAPES[row]


def _nested(hint: Any) -> type[Any] | None:
    candidates = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for candidate in candidates:
        if isinstance(candidate, type) and hasattr(candidate, "__dataclass_fields__"):
            return candidate
    return None


def _statement(row: type[Any], function: str, arguments: tuple[str, ...]) -> str:
    wanted = (row, function, arguments)
    if wanted not in _STATEMENTS:
        columns = ", ".join(columns_of(row))
        places = ", ".join(f"{name} => ${place}" for place, name in enumerate(arguments, 1))
        # Names from code only, never from a request.
        _STATEMENTS[wanted] = f"select {columns} from {function}({places})"  # noqa: S608
    return _STATEMENTS[wanted]


def _builder(row: type[Row]) -> Callable[[Any], Row]:
    if row not in _BUILDERS:
        _BUILDERS[row] = _make_builder(row)
    return _BUILDERS[row]


def _make_builder(row: type[Row]) -> Callable[[Any], Row]:
    shape = _shape(row)
    if all(nested is None for _, nested in shape):
        return lambda record: row(*record)
    parts: list[tuple[type[Any] | None, slice]] = []
    place = 0
    for _, nested in shape:
        begin = place
        place += 1 if nested is None else len(columns_of(nested))
        if nested is None and parts and parts[-1][0] is None:
            # Plain columns that stand side by side are taken together.
            begin = parts.pop()[1].start
        parts.append((nested, slice(begin, place)))

    def build(record: Any) -> Row:
        values: list[Any] = []
        for nested, columns in parts:
            part = record[columns]
            if nested is None:
                values.extend(part)
            else:
                values.append(None if part[0] is None else nested(*part))
        return row(*values)

    return build
