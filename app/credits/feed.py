"""The live feed: who watches an account sees each change at once.

A process publishes the row a call returned and listens for the rows of all others.
Versions only rise: what is not newer than what a watcher has seen is dropped. Redis may
lose messages: on reconnect, and every few seconds, the versions of all watched accounts
are compared with Postgres in one query, and what is newer is pushed. Nothing that
decides about money reads from here.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.core.bus import Bus
from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import FEED_SUBSCRIBERS, PUBLISH_FAILURES, log
from app.credits.credits import Answered, Credits
from app.credits.rows import Balance, Settled

_CHANGES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class ReservationChange:
    """A reservation as it stood after a change."""

    id: UUID
    status: str
    amount: int
    settled_amount: int | None
    expires_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Push:
    """What reaches a watcher: the newest balance, and the reservations known to change.

    `complete` is False where a change may have gone by unseen: then look at Postgres.
    """

    balance: Balance
    reservations: tuple[ReservationChange, ...]
    complete: bool


@dataclass(eq=False)
class _Watcher:
    """One subscriber: a slot for the newest balance, never a backlog."""

    version: int = -1
    balance: Balance | None = None
    reservations: OrderedDict[UUID, ReservationChange] = field(default_factory=OrderedDict)
    complete: bool = True
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(
        self, version_before: int, balance: Balance, changes: Sequence[ReservationChange] | None
    ) -> None:
        if balance.balance_version <= self.version:
            return
        known = self.balance.balance_version if self.balance is not None else self.version
        if changes is None or version_before > known:
            self.complete = False
        for change in changes or ():
            self.reservations[change.id] = change
            self.reservations.move_to_end(change.id)
        while len(self.reservations) > _CHANGES_KEPT:
            self.reservations.popitem(last=False)
            self.complete = False
        if self.balance is None or balance.balance_version > self.balance.balance_version:
            self.balance = balance
        self.wake.set()

    def take(self) -> Push | None:
        self.wake.clear()
        balance, self.balance = self.balance, None
        if balance is None or balance.balance_version <= self.version:
            return None
        self.version = balance.balance_version
        changes, self.reservations = tuple(self.reservations.values()), OrderedDict()
        complete, self.complete = self.complete, True
        return Push(balance, changes, complete)


class Feed:
    """Publishes what `Credits` did and delivers what others did."""

    def __init__(
        self,
        bus: Bus,
        *,
        pushes_per_second: int = 10,
        resync_seconds: float = 10.0,
        subscribers: int = 10_000,
    ) -> None:
        self._bus = bus
        self._interval = 1.0 / pushes_per_second
        self._resync_seconds = resync_seconds
        self._limit = subscribers
        self._watchers: dict[UUID, set[_Watcher]] = {}
        self._credits: Credits | None = None
        self._resync_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        bus.on_reconnect(self._resync_now.set)

    def start(self, credits: Credits) -> None:
        """Begin to compare watched accounts with Postgres."""
        self._credits = credits
        self._task = asyncio.create_task(self._resync_forever(), name="feed-resync")

    async def stop(self) -> None:
        """Stop; open watches end when their owners leave."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def moved(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        """Publish what a call changed, without waiting for Redis.

        The call has happened: whatever goes wrong here must not make it look otherwise.
        """
        try:
            self._publish(version_before, balance, reservations)
        except Exception:  # noqa: BLE001  # counted and logged; the call stands
            PUBLISH_FAILURES.inc()
            log.exception("feed.publish_failed", account=str(balance.account_id))

    def _publish(
        self, version_before: int, balance: Balance, reservations: Sequence[Answered]
    ) -> None:
        changes = [_change(row) for row in reservations]
        # Fewer changes than versions: something else moved too, such as an expiry.
        listed = len(changes) == balance.balance_version - version_before
        message = {
            "balance": asdict(balance),
            "version_before": version_before,
            "reservations": [asdict(change) for change in changes] if listed else None,
        }
        self._bus.publish(_channel(balance.account_id), orjson.dumps(message, default=str), _merge)

    @contextlib.asynccontextmanager
    async def watch(self, account_id: UUID, topic: str) -> AsyncIterator[AsyncIterator[Push]]:
        """Watch an account: the snapshot first, then whatever is newer.

        At most `pushes_per_second`; a slow reader gets the newest, never a backlog.
        """
        if sum(map(len, self._watchers.values())) >= self._limit:
            raise Refusal("BUSY")
        watcher = _Watcher()
        watchers = self._watchers.setdefault(account_id, set())
        watchers.add(watcher)
        FEED_SUBSCRIBERS.labels(topic).inc()
        try:
            # Listen first, then read: what happens in between is seen twice, never lost.
            await self._bus.subscribe(_channel(account_id), self._deliver)
            yield self._pushes(account_id, watcher)
        finally:
            FEED_SUBSCRIBERS.labels(topic).dec()
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(account_id, None)
                await self._bus.unsubscribe(_channel(account_id), self._deliver)

    async def _pushes(self, account_id: UUID, watcher: _Watcher) -> AsyncIterator[Push]:
        if self._credits is None:
            raise RuntimeError("the feed was not started")
        snapshot = (await self._credits.check_balance(account_id)).balance
        watcher.version = snapshot.balance_version
        yield Push(snapshot, (), complete=True)
        while True:
            await watcher.wake.wait()
            push = watcher.take()
            if push is not None:
                sent = time.monotonic()
                yield push
                await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - sent)))

    def _deliver(self, data: bytes) -> None:
        message = orjson.loads(data)
        balance = _balance(message["balance"])
        listed = message["reservations"]
        changes = None if listed is None else [_reservation(change) for change in listed]
        self._offer(message["version_before"], balance, changes)

    def _offer(
        self, version_before: int, balance: Balance, changes: list[ReservationChange] | None
    ) -> None:
        for watcher in tuple(self._watchers.get(balance.account_id, ())):
            watcher.offer(version_before, balance, changes)

    async def _resync_forever(self) -> None:
        while True:
            # Nothing lost that we know of: after a while, compare all the same.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resync_now.wait(), self._resync_seconds)
            self._resync_now.clear()
            try:
                await self._resync()
            except (Refusal, Unavailable) as error:
                log.warning("feed.resync_failed", error=str(error))

    async def _resync(self) -> None:
        known = {
            account_id: min(_seen(watcher) for watcher in watchers)
            for account_id, watchers in self._watchers.items()
            if watchers
        }
        if not known or self._credits is None:
            return
        for balance in await self._credits.newer_balances(known):
            self._offer(balance.balance_version, balance, None)


def _seen(watcher: _Watcher) -> int:
    waiting = watcher.balance.balance_version if watcher.balance is not None else -1
    return max(watcher.version, waiting)


def _channel(account_id: UUID) -> str:
    # The braces keep an account's channel on one shard of a Redis cluster.
    return f"credits:{{{account_id}}}"


def _change(row: Answered) -> ReservationChange:
    return ReservationChange(
        id=row.reservation_id,
        status=row.status,
        amount=row.amount,
        settled_amount=row.settled_amount if isinstance(row, Settled) else None,
        expires_at=getattr(row, "expires_at", None),
        version=row.version or 0,
    )


def _merge(waiting: bytes, newer: bytes) -> bytes:
    """Two messages of one account become one that tells both stories."""
    first, second = orjson.loads(waiting), orjson.loads(newer)
    if first["balance"]["balance_version"] > second["balance"]["balance_version"]:
        first, second = second, first
    together = second
    both = (first["reservations"], second["reservations"])
    contiguous = first["balance"]["balance_version"] == second["version_before"]
    together["version_before"] = first["version_before"]
    together["reservations"] = (
        both[0] + both[1]
        if contiguous
        and both[0] is not None
        and both[1] is not None
        and len(both[0]) + len(both[1]) <= _CHANGES_KEPT
        else None
    )
    return orjson.dumps(together)


def _balance(data: dict[str, Any]) -> Balance:
    data["account_id"] = UUID(data["account_id"])
    data["period_start"] = datetime.fromisoformat(data["period_start"])
    data["period_end"] = datetime.fromisoformat(data["period_end"])
    return Balance(**data)


def _reservation(data: dict[str, Any]) -> ReservationChange:
    data["id"] = UUID(data["id"])
    if data["expires_at"] is not None:
        data["expires_at"] = datetime.fromisoformat(data["expires_at"])
    return ReservationChange(**data)
