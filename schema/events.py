"""Server-sent events: one operation over one response, in the distinct-connections mode.

A comment now and then keeps proxies from closing what is quiet. Who takes nothing for a
minute is left; who leaves is noticed at once, and so is the end of the server.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import orjson
from starlette.types import Receive, Scope, Send

from app.core.drain import Drain
from app.core.telemetry import log
from schema.engine import Payload
from schema.groups import Member

# An ASGI extension of our server: a function that ends a connection at once.
ABORT = "exchequer.http.abort"
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
    told: Payload | Member,
    receive: Receive,
    send: Send,
    drain: Drain,
    abort: Callable[[], None] | None,
) -> None:
    """Send the one payload as an event, or each, until they end, the server stops or who reads."""
    sending = asyncio.create_task(_send_all(told, send, drain, abort), name="events")
    leaving = asyncio.create_task(_left(receive), name="events-leaving")
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        raise error


def abort_of(scope: Scope) -> Callable[[], None] | None:
    """Return what ends the line of a request at once, where the server offers that."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT, {}).get("abort")
    return abort


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_all(
    told: Payload | Member, send: Send, drain: Drain, abort: Callable[[], None] | None
) -> None:
    async def put(body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": more})

    try:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        last = _COMPLETE
        if isinstance(told, Member):
            last = b""
            async with drain.until_stop(), told, aclosing(_with_quiet(told)) as events:
                async for event in events:
                    await put(event)
                last = _COMPLETE
        else:
            # What has an effect is finished and answered even in a stop.
            await put(_event(orjson.dumps(told)))
        # Left before its end, it is not complete: npm's client comes again for that.
        await put(last, more=False)
    except TimeoutError:
        log.warning("events.not_read")
        if abort is not None:
            # What it does not take would be kept for it as long as its line lasts.
            abort()


async def _with_quiet(payloads: Member) -> AsyncGenerator[bytes]:
    """Yield events, and a comment whenever nothing came for a while."""
    waiting: asyncio.Task[bytes] | None = None
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
            yield _event(payload)
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def _event(payload: bytes) -> bytes:
    return b"event: next\r\ndata: " + payload + b"\r\n\r\n"
