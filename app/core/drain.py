"""The end of a process, foreseen: who keeps something open for a client lets go of it in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Drain:
    """Begins once, when the process is told to stop; what only waits for news ends by it."""

    def __init__(self) -> None:
        self._begun = False
        self._open: set[asyncio.Timeout] = set()

    @property
    def is_begun(self) -> bool:
        """Whether the process is about to stop."""
        return self._begun

    def begin(self) -> None:
        """End what is open; what is opened from now on ends at once."""
        self._begun = True
        now = asyncio.get_running_loop().time()
        for scope in self._open:
            scope.reschedule(now)

    @asynccontextmanager
    async def until_stop(self) -> AsyncIterator[None]:
        """Run what is inside until the process is to stop, then go on after it.

        Not for what has an effect: it may be left at any await.
        """
        scope = asyncio.timeout(0 if self._begun else None)
        try:
            async with scope:
                self._open.add(scope)
                try:
                    yield
                finally:
                    self._open.discard(scope)
        except TimeoutError:
            # Another's time-out inside is its own matter.
            if not scope.expired():
                raise
