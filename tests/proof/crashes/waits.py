"""The one way to wait for what comes by itself: look, pause, look again, but not for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Seen = TypeVar("Seen")

# What a busy machine may take for what needs a moment: a server that comes back, an answer.
BACK_SECONDS = 60.0
PAUSE = 0.02


class NotSeen(Exception):  # noqa: N818  # not always an error: some count what they missed
    """What was waited for did not show in its time."""


async def seen(
    look: Callable[[], Awaitable[Seen]],
    what: str,
    *,
    seconds: float = BACK_SECONDS,
    pause: float = PAUSE,
) -> Seen:
    """Look until there is something to see, and return that.

    `what`: what there should be, for who reads that it never came. A look that takes too long
    is broken off.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            while not (found := await look()):
                await asyncio.sleep(pause)
    except TimeoutError as error:
        if not limit.expired():
            raise  # the look's own
        raise NotSeen(f"not seen in {seconds:g} s: {what}") from error
    return found
