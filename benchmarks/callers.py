"""Reserves and settles as an application makes them: one by one, through `Credits`."""

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.core.database import columns_of
from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.batches import SHARED_LANES
from app.credits.rows import Reserved
from benchmarks.books import ENOUGH, Books
from benchmarks.load import percentile
from benchmarks.sets import reserve_request, settle_request
from benchmarks.work import Work, repeat
from db.driver import Connection

CALLERS = 512
BARE = (
    f"select {', '.join(columns_of(Reserved))}"  # noqa: S608  # names of our own columns
    " from credits.reserve(p_account_id => $1, p_requests => $2)"
)


@dataclass(frozen=True)
class Wait:
    """How long one waited for an answer, alone."""

    samples: int
    median_ms: float
    p99_ms: float


def wait(seconds: Sequence[float]) -> Wait:
    """Return the figures of a series."""
    ordered = sorted(seconds)
    return Wait(len(ordered), statistics.median(ordered) * 1000, percentile(ordered, 0.99) * 1000)


async def concurrent(
    books: Books, accounts: Sequence[UUID], seconds: float, seed: int, callers: int = CALLERS
) -> Work:
    """So many callers in one process, each with a call that it reserves for and settles."""
    credits = Credits(books.database)
    chance = random.Random(seed)  # noqa: S311  # reproducible on purpose

    async def call() -> int:
        account = chance.choice(accounts)
        # Refused, it raises; as does an answer that is another request's.
        reserved = await credits.reserve(account, reserve_request())
        settled = await credits.settle(account, settle_request(reserved.reservation_id))
        if reserved.replayed or settled.replayed:
            raise RuntimeError("a key that was never used is told to be replayed")
        return 2

    return await repeat(books, [call] * callers, seconds)


async def refusals(
    books: Books,
    accounts: Sequence[UUID],
    seconds: float,
    seed: int,
    shared_lanes: int = SHARED_LANES,
) -> Work:
    """Let as many callers ask for what accounts do not have."""
    credits = Credits(books.database, shared_lanes=shared_lanes)
    chance = random.Random(seed)  # noqa: S311  # reproducible on purpose

    async def call() -> int:
        try:
            await credits.reserve(chance.choice(accounts), reserve_request(ENOUGH))
        except Refusal as refusal:
            if refusal.code == "INSUFFICIENT_CREDITS":
                return 1
            raise
        raise RuntimeError("an account without credits reserved")

    return await repeat(books, [call] * CALLERS, seconds)


async def alone(books: Books, account: UUID, samples: int) -> tuple[Wait, Wait]:
    """One caller: a reserve through `Credits`, one by the driver alone, and so on in turn."""
    credits = Credits(books.database)
    async with books.connection() as connection:
        bare = await reserver(connection)

        async def ours() -> None:
            await credits.reserve(account, reserve_request())

        return await in_turn(ours, lambda: bare(account), samples)


async def reserver(connection: Connection) -> Callable[[UUID], Awaitable[None]]:
    """Return what reserves by a prepared statement, and nothing around it."""
    statement = await connection.prepare(BARE)

    async def reserve(account: UUID) -> None:
        [row] = await statement.fetch(account, [reserve_request()])
        if row["outcome"] != "OK":
            raise RuntimeError(f"{row['outcome']} instead of OK: {row['facts']}")

    return reserve


def each_of(
    reserve: Callable[[UUID], Awaitable[None]], accounts: Sequence[UUID]
) -> Callable[[], Awaitable[None]]:
    """Return what reserves of one account after the other."""
    left = iter(accounts)
    return lambda: reserve(next(left))


async def in_turn(
    variant: Callable[[], Awaitable[None]], control: Callable[[], Awaitable[None]], samples: int
) -> tuple[Wait, Wait]:
    """Measure both, one after the other, again and again; each goes first as often."""
    both: list[tuple[Callable[[], Awaitable[None]], list[float]]] = [(variant, []), (control, [])]
    for number in range(samples):
        for each, into in both if number % 2 == 0 else reversed(both):
            began = time.perf_counter()
            await each()
            into.append(time.perf_counter() - began)
    return wait(both[0][1]), wait(both[1][1])
