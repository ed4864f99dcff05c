"""Server-sent events: one operation over one response, in the distinct-connections mode.

A comment now and then keeps proxies from closing what is quiet. Who takes nothing for a
minute is left; who leaves is noticed at once, and so is the end of the server.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import orjson
from starlette.types import Receive, Send

from app.core.telemetry import log
from schema.engine import Payload

SEND_SECONDS = 60.0
QUIET_SECONDS = 12.0

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    # Neither kept nor compressed nor held back on its way.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_COMPLETE = b"event: complete\r\ndata: \r\n\r\n"
_QUIET = b": ping\r\n\r\n"


async def stream_events(
    payloads: AsyncGenerator[Payload],
    receive: Receive,
    send: Send,
    *,
    within: AbstractAsyncContextManager[None],
) -> None:
    """Send each payload as an event, until they end, `within` does, or nobody is there."""
    sending = asyncio.create_task(_send_all(payloads, send, within), name="events")
    leaving = asyncio.create_task(_left(receive), name="events-leaving")
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        raise error


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_all(
    payloads: AsyncGenerator[Payload], send: Send, within: AbstractAsyncContextManager[None]
) -> None:
    async def put(body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})

    try:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        last = b""
        async with within, aclosing(_with_quiet(payloads)) as events:
            async for event in events:
                await put(event)
            last = _COMPLETE
        # Left before its end, it is not complete: npm's client comes again for that.
        await put(last, more=False)
    except TimeoutError:
        log.warning("events.not_read")


async def _with_quiet(payloads: AsyncGenerator[Payload]) -> Any:
    """Yield events, and a comment whenever nothing came for a while."""
    waiting: asyncio.Task[Payload] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(payloads))
            await asyncio.wait({waiting}, timeout=QUIET_SECONDS)
            if not waiting.done():
                yield _QUIET
                continue
            try:
                payload = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield b"event: next\r\ndata: " + orjson.dumps(payload) + b"\r\n\r\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        with contextlib.suppress(RuntimeError):
            await payloads.aclose()
