"""Redis pub/sub: one connection listens for a whole process, another publishes.

Redis only carries hints. Nobody waits for it: a message goes into a short queue, a task
sends what the queue holds, and a failure is counted, never raised. What may have been
missed (a lost connection, a subscription that was confirmed late) is told to those who
can look it up.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as LineLost
from redis.exceptions import RedisError

from app.core.telemetry import PUBLISH_FAILURES, log

_QUEUE_LIMIT = 10_000
_BATCH_LIMIT = 500
_PING_SECONDS = 5.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_STOP_ROUNDS = 20
_FAILURES = (RedisError, OSError, TimeoutError)

Handler = Callable[[bytes], None]


class Message(Protocol):
    """What is published: while it waits, it takes in what comes after it."""

    def merged(self, newer: Any) -> "Message":
        """Return one message that tells what both do."""

    def encode(self) -> bytes:
        """Return what goes over the wire."""


@dataclass(eq=False, slots=True)
class _Channel:
    """Who hears a channel; `heard` once Redis has confirmed it on this connection."""

    handlers: set[Handler] = field(default_factory=set)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    # Somebody goes on without the confirmation: what came before it was missed.
    missed: bool = False


class Bus:
    """Publish and listen by channel."""

    def __init__(self, url: str, timeout_seconds: float = 0.25) -> None:
        self._timeout = timeout_seconds
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # The client would reconnect by itself, and nobody would learn of the gap.
            retry=Retry(NoBackoff(), 0, supported_errors=()),
            # With RESP3 the client (8.1) no longer looks whether a line it takes from its pool
            # is closed, or holds an answer that nobody read.
            protocol=2,
        )
        self._queue: OrderedDict[str, Message] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False
        self._channels: dict[str, _Channel] = {}
        self._changed: set[str] = set()
        self._change = asyncio.Event()
        self._asked: deque[list[_Channel]] = deque()
        self._pubsub: PubSub | None = None
        self._up = False
        self._on_gap: list[Callable[[], None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to publish and to listen; Redis may come later."""
        self._tasks = [
            asyncio.create_task(self._publish_forever(), name="bus-publish"),
            asyncio.create_task(self._listen_forever(), name="bus-listen"),
        ]

    async def stop(self) -> None:
        """Send what is queued, for at most one time-out, and close."""
        self._stopping = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=self._timeout)
        await self._end_tasks()
        with contextlib.suppress(*_FAILURES):
            await self._redis.aclose()

    async def _end_tasks(self) -> None:
        # Asked again and again: connecting, the client may swallow a cancellation.
        pending = {task for task in self._tasks if not task.done()}
        for _ in range(_STOP_ROUNDS):
            if not pending:
                return
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=self._timeout)
        log.error("bus.did_not_stop", tasks=[task.get_name() for task in pending])

    async def ping(self) -> bool:
        """Say whether Redis answers in time."""
        try:
            await self._redis.ping()
        except _FAILURES:
            return False
        return True

    # Publishing.

    def publish(self, channel: str, message: Message) -> None:
        """Queue a message; one that still waits for the same channel takes it in."""
        waiting = self._queue.pop(channel, None)
        self._queue[channel] = message if waiting is None else waiting.merged(message)
        if len(self._queue) > _QUEUE_LIMIT:
            self._queue.popitem(last=False)
            PUBLISH_FAILURES.inc()
        self._wake.set()

    async def _publish_forever(self) -> None:
        pause = _FIRST_PAUSE
        while self._queue or not self._stopping:
            await self._wake.wait()
            batch = [
                self._queue.popitem(last=False) for _ in range(min(len(self._queue), _BATCH_LIMIT))
            ]
            if not self._queue:
                self._wake.clear()
            if not batch:
                continue
            try:
                await self._send(batch)
                pause = _FIRST_PAUSE
            except _FAILURES as error:
                PUBLISH_FAILURES.inc(len(batch))
                if self._stopping:
                    return
                if pause == _FIRST_PAUSE:
                    log.warning("bus.publish_failed", messages=len(batch), error=_told(error))
                # Messages gather meanwhile, one for each channel.
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            except Exception:  # noqa: BLE001  # a fault of ours; the next batch may pass
                PUBLISH_FAILURES.inc(len(batch))
                log.exception("bus.publish_broken", messages=len(batch))

    async def _send(self, batch: list[tuple[str, Message]]) -> None:
        encoded = [(channel, message.encode()) for channel, message in batch]
        try:
            await self._pipe(encoded)
        except LineLost:
            # The line may have died while it was idle; to be told twice does no harm.
            await self._pipe(encoded)

    async def _pipe(self, encoded: list[tuple[str, bytes]]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for channel, data in encoded:
                pipeline.publish(channel, data)
            await pipeline.execute()

    # Listening.

    def on_gap(self, callback: Callable[[], None]) -> None:
        """Call back when messages may have been missed and are heard again."""
        self._on_gap.append(callback)

    async def subscribe(self, channel: str, handler: Handler) -> None:
        """Hear a channel. Waits for Redis to confirm, one time-out at most."""
        known = self._channels.get(channel)
        if known is None:
            known = self._channels[channel] = _Channel()
            self._ask(channel)
        known.handlers.add(handler)
        if self._up and not known.heard.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await known.heard.wait()
        if not known.heard.is_set():
            known.missed = True

    def unsubscribe(self, channel: str, handler: Handler) -> None:
        """Hear a channel no more."""
        known = self._channels.get(channel)
        if known is None:
            return
        known.handlers.discard(handler)
        if not known.handlers:
            del self._channels[channel]
            self._ask(channel)

    def _ask(self, channel: str) -> None:
        self._changed.add(channel)
        self._change.set()

    async def _listen_forever(self) -> None:
        pause = _FIRST_PAUSE
        said = False
        while not self._stopping:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001  # listening never ends
                if self._up or not said:
                    log.warning("bus.lost", error=_told(error))
                said = True
            if self._up:
                pause = _FIRST_PAUSE
            self._up = False
            for channel in self._channels.values():
                channel.heard.clear()
                channel.missed = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _listen(self) -> None:
        async with self._redis.pubsub() as pubsub:
            await pubsub.connect()
            self._pubsub = pubsub
            self._asked.clear()
            self._changed = set(self._channels)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._tell(pubsub), name="bus-tell")
                    both.create_task(self._hear(pubsub), name="bus-hear")
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _tell(self, pubsub: PubSub) -> None:
        """Tell Redis what is to be heard as it is now, whatever it was in between.

        One task says it all, so no unsubscribe overtakes a subscribe; a ping after each
        change, and now and then, comes back when Redis has done what was asked before.
        """
        while self._pubsub is pubsub:
            self._change.clear()
            changed, self._changed = self._changed, set()
            if gone := [channel for channel in changed if channel not in self._channels]:
                await pubsub.unsubscribe(*gone)
            if new := [channel for channel in changed if channel in self._channels]:
                await pubsub.subscribe(*new)
            self._asked.append([self._channels[c] for c in new if c in self._channels])
            await pubsub.ping()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_SECONDS):
                    await self._change.wait()

    async def _hear(self, pubsub: PubSub) -> None:
        try:
            while True:
                message = await pubsub.get_message(timeout=_PING_SECONDS + self._timeout)
                if message is None:
                    raise TimeoutError("Redis does not answer pings")
                if message["type"] == "pong":
                    self._confirm()
                elif message["type"] == "message":
                    self._dispatch(message["channel"].decode(), message["data"])
        finally:
            # Writing, the client may swallow a cancellation (`wait_for` in Python 3.11):
            # `_tell` must see for itself that this connection is over.
            self._pubsub = None
            self._change.set()

    def _confirm(self) -> None:
        if not self._up:
            self._up = True
            log.info("bus.up", channels=len(self._channels))
        confirmed = self._asked.popleft()
        for channel in confirmed:
            channel.heard.set()
        if any(channel.missed for channel in confirmed):
            for channel in confirmed:
                channel.missed = False
            for callback in self._on_gap:
                callback()

    def _dispatch(self, channel: str, data: bytes) -> None:
        known = self._channels.get(channel)
        for handler in tuple(known.handlers) if known is not None else ():
            try:
                handler(data)
            except Exception:  # noqa: BLE001  # one bad message must not end all listening
                log.exception("bus.handler_failed", channel=channel)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
