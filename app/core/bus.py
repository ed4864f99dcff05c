"""Redis pub/sub: one connection listens for a whole process, another publishes.

Redis only carries hints. Nobody waits for it: a message goes into a short queue, a
task sends what the queue holds, and a failure is counted, never raised. Listeners hear
of a reconnect, so that they can look up what they missed.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.core.telemetry import PUBLISH_FAILURES, log

_QUEUE_LIMIT = 10_000
_FAILURES = (RedisError, OSError, TimeoutError)

# The client would reconnect silently, and nobody would look up what was missed.
_NO_RETRY = Retry(NoBackoff(), 0)

Handler = Callable[[bytes], None]
Merge = Callable[[bytes, bytes], bytes]


class Bus:
    """Publish and listen by channel."""

    def __init__(self, url: str, timeout_seconds: float = 0.25) -> None:
        self._timeout = timeout_seconds
        self._publisher: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=_NO_RETRY,
        )
        # A subscriber may hear nothing for hours; a dead line shows by keep-alive pings.
        self._listener: Redis = Redis.from_url(
            url,
            socket_connect_timeout=timeout_seconds,
            socket_keepalive=True,
            health_check_interval=10,
            retry=_NO_RETRY,
        )
        self._queue: OrderedDict[str, bytes] = OrderedDict()
        self._wake = asyncio.Event()
        self._handlers: dict[str, set[Handler]] = {}
        self._on_reconnect: list[Callable[[], None]] = []
        self._pubsub: Any = None
        self._subscribed: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._up = False

    @property
    def is_up(self) -> bool:
        """Whether the listening connection is established."""
        return self._up

    def start(self) -> None:
        """Begin to publish and to listen; Redis may come later."""
        self._tasks = [
            asyncio.create_task(self._publish_forever(), name="bus-publish"),
            asyncio.create_task(self._listen_forever(), name="bus-listen"),
        ]

    async def stop(self) -> None:
        """Send what is queued, for at most one time-out, and close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._send_queued()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in (self._publisher, self._listener):
            with contextlib.suppress(*_FAILURES):
                await client.aclose()

    async def ping(self) -> bool:
        """Say whether Redis answers in time."""
        try:
            await self._publisher.ping()
        except _FAILURES:
            return False
        return True

    def publish(self, channel: str, data: bytes, merge: Merge | None = None) -> None:
        """Queue a message; one that still waits for the same channel is merged or replaced."""
        waiting = self._queue.pop(channel, None)
        if waiting is not None and merge is not None:
            data = merge(waiting, data)
        self._queue[channel] = data
        if len(self._queue) > _QUEUE_LIMIT:
            self._queue.popitem(last=False)
            PUBLISH_FAILURES.inc()
        self._wake.set()

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call back each time the listening connection has been made anew."""
        self._on_reconnect.append(callback)

    async def subscribe(self, channel: str, handler: Handler) -> None:
        """Hear a channel. Waits for Redis to confirm, one time-out at most."""
        self._handlers.setdefault(channel, set()).add(handler)
        confirmed = self._subscribed.setdefault(channel, asyncio.Event())
        self._changed.set()
        if self._pubsub is not None and not confirmed.is_set():
            try:
                await self._pubsub.subscribe(channel)
                await asyncio.wait_for(confirmed.wait(), self._timeout)
            except _FAILURES as error:
                log.warning("bus.subscribe_unconfirmed", channel=channel, error=str(error))

    async def unsubscribe(self, channel: str, handler: Handler) -> None:
        """Hear a channel no more."""
        handlers = self._handlers.get(channel, set())
        handlers.discard(handler)
        if handlers:
            return
        self._handlers.pop(channel, None)
        self._subscribed.pop(channel, None)
        if self._pubsub is not None:
            with contextlib.suppress(*_FAILURES):
                await self._pubsub.unsubscribe(channel)

    async def _publish_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._send_queued()

    async def _send_queued(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, OrderedDict()
            try:
                async with self._publisher.pipeline(transaction=False) as pipeline:
                    for channel, data in batch.items():
                        pipeline.publish(channel, data)
                    await pipeline.execute()
            except _FAILURES as error:
                PUBLISH_FAILURES.inc(len(batch))
                log.warning("bus.publish_failed", messages=len(batch), error=str(error))

    async def _listen_forever(self) -> None:
        pause = 0.05
        while True:
            try:
                await self._listen()
            except _FAILURES as error:
                if self._up:
                    log.warning("bus.lost", error=str(error))
            pause = 0.05 if self._up else min(pause * 2, 1.0)
            self._up = False
            self._pubsub = None
            for confirmed in self._subscribed.values():
                confirmed.clear()
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        await self._listener.ping()
        async with self._listener.pubsub() as pubsub:
            # A subscription of our own keeps the connection busy before anybody listens.
            await pubsub.subscribe("exchequer:bus", *self._handlers)
            self._pubsub = pubsub
            self._up = True
            for callback in self._on_reconnect:
                callback()
            while True:
                message = await pubsub.get_message(timeout=30.0)
                if message is not None:
                    self._dispatch(message)

    def _dispatch(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        if message["type"] == "subscribe" and channel in self._subscribed:
            self._subscribed[channel].set()
        elif message["type"] == "message":
            for handler in tuple(self._handlers.get(channel, ())):
                handler(message["data"])
