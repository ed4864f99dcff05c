"""Stands for Postgres where only what is sent together matters."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from app.credits.batches import QUIET, SHARED_LANES, Batches


def account(number: int) -> UUID:
    """Return an account of the first shared lane."""
    return UUID(int=number * SHARED_LANES)


class Gate:
    """Stands for Postgres: notes what it is sent, and answers when it is opened."""

    def __init__(self, shared_lanes: int = SHARED_LANES, calls: int = 2 * QUIET) -> None:
        self.own: list[tuple[int, list[str]]] = []
        self.many: list[list[tuple[int, str]]] = []
        self.undecided: set[int] = set()
        # Whom somebody holds, in so many of the next calls for many.
        self.held: Counter[int] = Counter()
        self.error: Exception | None = None
        self.loses = False
        self._open = asyncio.Event()
        self._open_alone = asyncio.Event()
        self._open_alone.set()
        self.batches: Batches[str, str] = Batches(
            self._send,
            self._send_many,
            calls=asyncio.Semaphore(calls),
            shared_lanes=shared_lanes,
            is_held=lambda answer: answer == "held",
            is_short=lambda answer: answer == "own short",
        )

    async def _send(self, account_id: UUID, requests: Sequence[str]) -> list[str]:
        self.own.append((account_id.int // SHARED_LANES, list(requests)))
        await self._open.wait()
        await self._open_alone.wait()
        if "bad" in requests:
            raise ValueError("it cannot be sent")
        return [f"own {request}" for request in requests[self.loses :]]

    async def _send_many(
        self, account_ids: Sequence[UUID], requests: Sequence[str]
    ) -> list[str | None]:
        numbers = [account_id.int // SHARED_LANES for account_id in account_ids]
        self.many.append(list(zip(numbers, requests, strict=True)))
        await self._open.wait()
        if "bad" in requests:
            raise ValueError("it cannot be sent")
        if self.error is not None:
            raise self.error
        held = {number for number in numbers if self.held[number] > 0}
        self.held.subtract(held)
        return [
            "held" if number in held else None if number in self.undecided else f"many {request}"
            for number, request in zip(numbers, requests, strict=True)
        ][self.loses :]

    def ask(self, number: int, request: str) -> "asyncio.Task[str]":
        return asyncio.create_task(self.batches.ask(account(number), request))

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    async def let_pass(self) -> None:
        """Answer the calls that are under way, and none that comes of it."""
        self._open.set()
        self._open.clear()
        await turn()

    def open_alone(self) -> None:
        self._open_alone.set()

    def shut_alone(self) -> None:
        """Let calls of one account wait even when others are answered."""
        self._open_alone.clear()

    async def busy(self) -> "list[asyncio.Task[str]]":
        """Keep as many accounts under way as may have a lane for the asking."""
        tasks = [self.ask(number, f"busy {number}") for number in range(QUIET)]
        await turn()
        return tasks

    async def sending(self) -> "list[asyncio.Task[str]]":
        """Keep a shared call under way too, so that what comes next gathers behind it."""
        tasks = [*await self.busy(), self.ask(QUIET, "first")]
        await turn()
        assert self.many[-1] == [(QUIET, "first")]
        return tasks


async def turn() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)
