"""What a run did and what it cost, and how it is repeated until its time is over."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.books import Books
from benchmarks.harness import process_seconds


@dataclass(frozen=True)
class Work:
    """Operations that were acknowledged, in how long, and CPU seconds of both sides."""

    operations: int
    seconds: float
    client_cpu: float
    postgres_cpu: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def client_us(self) -> float:
        """Microseconds of the client's processor for each operation."""
        return self.client_cpu / self.operations * 1e6

    @property
    def postgres_us(self) -> float:
        """Microseconds of Postgres' processors for each operation."""
        return self.postgres_cpu / self.operations * 1e6


# Does a few operations, returns how many were acknowledged.
Step = Callable[[], Awaitable[int]]


async def repeat(books: Books, steps: Sequence[Step], seconds: float) -> Work:
    """Do each step again and again beside the others until the time is over."""
    ends = time.perf_counter() + seconds
    used, server, began = process_seconds(os.getpid()), books.cpu_seconds(), time.perf_counter()

    async def go(step: Step) -> int:
        done = 0
        while time.perf_counter() < ends:
            done += await step()
        return done

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(go(step)) for step in steps]
    return Work(
        sum(task.result() for task in tasks),
        time.perf_counter() - began,
        process_seconds(os.getpid()) - used,
        books.cpu_seconds() - server,
    )
