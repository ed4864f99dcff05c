"""Subscriptions: executed once for all who asked the same and may see the same.

A group runs one subscription and tells each event, as the same text, to all its members.
Each member is told at its own pace: of a state it gets the newest, of a log every event, or
word of those it was too slow for. Each asks by itself, again and again, whether it may
still see what it is shown.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self, cast
from uuid import UUID

import orjson
from strawberry.types import Info

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import FEED_SUBSCRIBERS, REQUEST_ID, log
from app.identity import Viewer
from app.identity.rights import Operation
from schema.context import Context, Services

_QUEUED = 256
_AT_ONCE = 100
_RETRY_SECONDS = 1.0


class Keeps(Enum):
    """What is kept for a member that is busy."""

    NEWEST = "a state: the newest is all there is to know"
    ALL = "a log: each event, as many as there is room for"
    OWN = "what depends on what was told before: one run for each member, which waits for it"


@dataclass(frozen=True, slots=True)
class Topic:
    """How a subscription is shared. Each root field has one, in its metadata."""

    name: str
    keeps: Keeps


class Told(NamedTuple):
    """One event as it goes over the wire; with its errors, if it has any, to be told to each."""

    payload: bytes
    version: int | None
    data: Any = None
    errors: list[dict[str, Any]] | None = None
    # A failure: nothing comes after it.
    is_last: bool = False


class GroupContext(Context):
    """What a group's resolver runs in: it notes which rights a member needs."""

    def __init__(self, services: Services, viewer: Viewer) -> None:
        super().__init__(services, viewer)
        self.required: list[tuple[Operation, UUID]] = []
        self.admitted = asyncio.Event()

    async def authorize(self, operation: Operation, organization_id: UUID) -> None:
        """Refuse a viewer who may not do this to that organization; note it for others."""
        await super().authorize(operation, organization_id)
        self.required.append((operation, organization_id))

    def admit(self) -> None:
        """Let others in: all rights have been asked for."""
        self.admitted.set()


def group_context_of(info: Info[Any, Any]) -> GroupContext:
    """Return the context of a subscription's resolver."""
    return cast("GroupContext", info.context)


Run = Callable[[GroupContext], AsyncGenerator[Told]]


class Failed(Protocol):
    """Tells of a failure, with its code, and logs it if it is ours."""

    def __call__(self, *, original_error: Exception) -> Told: ...


class Member:
    """One subscriber: iterate to be told, each time the JSON of a payload."""

    def __init__(self, groups: "Groups", wanted: "Wanted", context: Context) -> None:
        self._groups = groups
        self._wanted = wanted
        self._context = context
        self._group: Group | None = None
        self._queue: deque[Told] = deque()
        self._wake = asyncio.Event()
        self._is_counted = False
        self._is_over = False
        self._is_refused = False
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        # The newest version that was told, or waits to be; and the newest that was left out.
        self.version = -1
        self._missed: int | None = None
        # It waits for news: who runs ahead of a member may wait for this.
        self.is_free = asyncio.Event()
        # Takes a payload at once, or says no. Spares a member that waits a turn of the loop.
        self.sink: Callable[[bytes], bool] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_refused:
            raise StopAsyncIteration
        try:
            if self._group is None:
                await self._join()
            while True:
                if self._is_due and not await self._check():
                    # Nobody can say whether it may see what waits for it.
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if self._queue:
                    return self._take(self._queue.popleft())
                if self._missed is not None:
                    return self._take(self._tell_missed(self._missed))
                if self._is_over:
                    break
                self.is_free.set()
                self._wake.clear()
                await self._wake.wait()
        except Exception as error:  # noqa: BLE001  # told with its code, logged if it is ours
            self._is_refused = True
            return self._take(self._wanted.failed(original_error=error))
        raise StopAsyncIteration

    def offer(self, told: Told) -> None:
        """Keep an event until it is taken."""
        if self._is_over:
            return
        if told.is_last:
            if self._missed is not None:
                self._queue.append(self._tell_missed(self._missed))
            self._queue.append(told)
            self.end()
            return
        version = told.version
        if version is not None:
            if version <= self.version:
                return
            if self._takes_at_once(told):
                self.version = version
                return
            if self._wanted.topic.keeps is Keeps.NEWEST:
                self._queue.clear()
            elif self._missed is not None or len(self._queue) >= _QUEUED:
                # What comes after a gap waits until the gap was told.
                self._missed = version
                return
            self.version = version
        self._queue.append(told)
        self.is_free.clear()
        self._wake.set()

    def _takes_at_once(self, told: Told) -> bool:
        # With a check due, that comes first.
        if self.sink is None or self._is_due or not self.is_free.is_set():
            return False
        if told.errors is not None:
            return False
        return self.sink(told.payload)

    def end(self) -> None:
        """Let it end once it was told everything."""
        self._is_over = True
        self._wake.set()

    async def leave(self) -> None:
        """Leave the group, which ends with its last member."""
        self._is_over = True
        self.is_free.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._is_counted:
            self._is_counted = False
            self._groups.count(self._wanted.topic, -1)
        if self._group is not None:
            await self._group.remove(self)

    async def _join(self) -> None:
        self._groups.count(self._wanted.topic, 1)
        self._is_counted = True
        self._group = self._groups.group(self._wanted, self._context)
        await self._group.admit(self)
        self._ask_later()

    async def check(self, required: list[tuple[Operation, UUID]]) -> None:
        """Refuse who may not see, or no longer."""
        for operation, organization_id in required:
            await self._context.authorize(operation, organization_id)

    async def _check(self) -> bool:
        """Say whether the right could be asked for; raise if there is none."""
        try:
            await self._context.renew()
            if self._group is not None:
                await self.check(self._group.context.required)
        except Unavailable as error:
            # An outage ends no subscription: who listens would have to begin it again.
            log.warning("subscription.unchecked", error=str(error))
            return False
        self._is_due = False
        self._ask_later()
        return True

    def _ask_later(self) -> None:
        def ask() -> None:
            self._is_due = True
            self._wake.set()

        seconds = self._context.services.rights_recheck_seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, ask)

    def _tell_missed(self, newest: int) -> Told:
        lost = Refusal("EVENTS_MISSED", {"after": self.version, "through": newest})
        self.version, self._missed = newest, None
        return self._wanted.failed(original_error=lost)

    @staticmethod
    def _take(told: Told) -> bytes:
        if told.errors is None or (request_id := REQUEST_ID.get()) is None:
            return told.payload
        # What went wrong once for all is told to each with the id of its own request.
        errors = [
            error | {"extensions": error["extensions"] | {"requestId": request_id}}
            for error in told.errors
        ]
        return orjson.dumps({"data": told.data, "errors": errors})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a member asks for: equal keys share one run."""

    key: Hashable
    topic: Topic
    run: Run
    failed: Failed


class Group:
    """One run of a subscription, and who is told of it."""

    def __init__(self, groups: "Groups", wanted: Wanted, context: GroupContext) -> None:
        self._groups = groups
        self._wanted = wanted
        self.context = context
        self.members: set[Member] = set()
        own = wanted.topic.keeps is Keeps.OWN
        # What is shared belongs to no request.
        around = contextvars.copy_context() if own else contextvars.Context()
        self._task = asyncio.create_task(self._run(), name="subscription", context=around)
        self._looking: asyncio.Task[Told | None] | None = None
        self._to_look: asyncio.Task[Told | None] | None = None

    async def admit(self, member: Member) -> None:
        """Take in a member. Who comes late has its right asked for, and a state looked up."""
        is_late = self.context.admitted.is_set()
        self.members.add(member)
        await self.context.admitted.wait()
        if not is_late:
            return
        await member.check(self.context.required)
        if self._wanted.topic.keeps is Keeps.NEWEST:
            told = await self._look()
            if told is not None:
                member.offer(told)
            else:
                member.end()

    async def remove(self, member: Member) -> None:
        """Let a member go."""
        self.members.discard(member)
        if not self.members:
            self._groups.forget(self._wanted.key, self)
            tasks = [each for each in (self._task, self._looking, self._to_look) if each]
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("subscription.failed", exc_info=result)

    async def _run(self) -> None:
        own = self._wanted.topic.keeps is Keeps.OWN
        try:
            async with aclosing(self._wanted.run(self.context)) as events:
                async for told in events:
                    if told.is_last:
                        # The last one: who waits is told of it, who comes now begins anew.
                        self._groups.forget(self._wanted.key, self)
                        self.context.admitted.set()
                    await self._tell(told)
                    if own and not told.is_last:
                        for member in list(self.members):
                            await member.is_free.wait()
        except Exception as error:  # noqa: BLE001  # told with its code, logged as ours
            await self._tell(self._wanted.failed(original_error=error))
        finally:
            self._groups.forget(self._wanted.key, self)
            for member in self.members:
                member.end()
            self.context.admitted.set()

    async def _tell(self, told: Told) -> None:
        for number, member in enumerate(list(self.members), 1):
            member.offer(told)
            if number % _AT_ONCE == 0:
                # Others have a turn, however many there are to tell.
                await asyncio.sleep(0)

    async def _look(self) -> Told | None:
        """Look at the state anew: one look for all who come before it begins."""
        if self._to_look is None:
            around = contextvars.Context()
            self._to_look = asyncio.create_task(
                self._look_after(self._looking), name="subscription-look", context=around
            )
        return await asyncio.shield(self._to_look)

    async def _look_after(self, earlier: "asyncio.Task[Told | None] | None") -> Told | None:
        if earlier is not None:
            await asyncio.wait({earlier})
        self._looking, self._to_look = self._to_look, None
        context = GroupContext(self.context.services, self.context.viewer)
        async with aclosing(self._wanted.run(context)) as events:
            told = await anext(events, None)
        if told is not None and not told.is_last:
            await self._tell(told)
        return told


class Groups:
    """All groups of a process, and how many members there may be."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._groups: dict[Hashable, Group] = {}
        self.open = 0

    def group(self, wanted: Wanted, context: Context) -> Group:
        """Return the group of those who want the same, begun now if there is none."""
        group = self._groups.get(wanted.key)
        if group is None:
            own = GroupContext(context.services, context.viewer)
            group = self._groups[wanted.key] = Group(self, wanted, own)
        return group

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def forget(self, key: Hashable, group: Group) -> None:
        """Let whoever comes begin anew."""
        if self._groups.get(key) is group:
            del self._groups[key]

    def count(self, topic: Topic, change: int) -> None:
        """Count who comes and goes; nobody comes who would be too many."""
        if change > 0 and self.open >= self._limit:
            raise Refusal("BUSY")
        self.open += change
        FEED_SUBSCRIBERS.labels(topic.name).inc(change)
