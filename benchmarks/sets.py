"""Reserves and settles in sets, straight to the SQL functions: what a batcher can reach at most.

Each line reserves a set and then settles it, for less than was reserved, on a connection of its
own. Requests cross the wire as they do from the application, answers come back whole.
"""

import itertools
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Self
from uuid import UUID

import asyncpg

from app.credits import ReserveRequest, SettleRequest
from app.credits.batches import SHARED_LANES
from benchmarks.books import Books
from benchmarks.work import Work, repeat
from db.driver import Connection

LINES = 4
SET = 256
RESERVED = 1_000
SETTLED = 600
_numbers = itertools.count()


def reserve_request(amount: int = RESERVED) -> ReserveRequest:
    """Return a request under a key that was never used."""
    return ReserveRequest(
        f"call-{next(_numbers):012d}", amount, feature="assistant", model="small-2026"
    )


def settle_request(reservation: UUID) -> SettleRequest:
    """Return what a call used."""
    return SettleRequest(
        reservation, SETTLED, operation="chat", input_tokens=1_000, output_tokens=100
    )


class Line:
    """A connection, and how a set is sent on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(
        self, function: str, accounts: Sequence[UUID], requests: Sequence[Any]
    ) -> list[asyncpg.Record]:
        """Send one set; request i is of account i. Return the answers in the same order."""
        # Names of our own functions.
        if len({*accounts}) == 1:
            statement = f"select * from credits.{function}($1, $2)"  # noqa: S608
            return await self._connection.fetch(statement, accounts[0], requests)
        statement = f"select * from credits.{function}_many($1, $2)"  # noqa: S608
        rows = await self._connection.fetch(statement, accounts, requests)
        answers = {row["ordinal"]: row for row in rows if row["outcome"] != "BUSY"}
        # What another line has locked at the moment goes alone, as the application sends it.
        for place, (account, request) in enumerate(zip(accounts, requests, strict=True), 1):
            if place not in answers:
                [answers[place]] = await self.send(function, [account], [request])
        return [answers[place] for place in range(1, len(requests) + 1)]

    async def pairs(self, accounts: Sequence[UUID]) -> int:
        """Reserve once for each of the accounts, settle all of it; return the operations."""
        reserved = await self.send("reserve", accounts, [reserve_request() for _ in accounts])
        _expect(reserved, "OK")
        settled = await self.send(
            "settle", accounts, [settle_request(row["reservation_id"]) for row in reserved]
        )
        _expect(settled, "OK")
        return len(reserved) + len(settled)

    async def reserves(self, account: UUID, amount: int, outcome: str) -> int:
        """Only reserve, a whole set; every answer is the one that is expected."""
        accounts = [account] * SET
        rows = await self.send("reserve", accounts, [reserve_request(amount) for _ in accounts])
        _expect(rows, outcome)
        return len(rows)


def _expect(rows: list[asyncpg.Record], outcome: str) -> None:
    for row in rows:
        if row["outcome"] != outcome or row["replayed"]:
            raise RuntimeError(f"{row['outcome']} instead of {outcome}: {row['facts']}")


class Sets:
    """Lines to Postgres, and the loads that they carry."""

    def __init__(self, books: Books, seed: int) -> None:
        self._books = books
        self._random = random.Random(seed)  # noqa: S311  # reproducible on purpose
        self._stack = AsyncExitStack()
        self._lines: list[Line] = []

    async def __aenter__(self) -> Self:
        for _ in range(LINES):
            connection = await self._stack.enter_async_context(self._books.connection())
            self._lines.append(Line(connection))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def hot(self, account: UUID, seconds: float) -> Work:
        """All sets are of one account."""
        accounts = [account] * SET
        steps = [partial(line.pairs, accounts) for line in self._lines]
        return await repeat(self._books, steps, seconds)

    async def spread(self, accounts: Sequence[UUID], seconds: float) -> Work:
        """Each set is of as many accounts, each time others.

        As the application's shared lanes send them: as many lines, each with its part of the
        accounts.
        """
        parts = [accounts[place::SHARED_LANES] for place in range(SHARED_LANES)]
        size = min(SET, *map(len, parts))

        async def pairs(line: Line, part: Sequence[UUID]) -> int:
            return await line.pairs(self._random.sample(part, size))

        lines = self._lines[:SHARED_LANES]
        steps = [partial(pairs, line, part) for line, part in zip(lines, parts, strict=True)]
        return await repeat(self._books, steps, seconds)

    async def reserves(
        self, account: UUID, seconds: float, amount: int = RESERVED, outcome: str = "OK"
    ) -> Work:
        """Only reserve, on one account."""
        steps = [partial(line.reserves, account, amount, outcome) for line in self._lines]
        return await repeat(self._books, steps, seconds)
