"""The live feed: who watches an account sees each change at once.

A process publishes the row a call returned and listens for the rows of all others.
Versions only rise: what is not newer than what a watcher has seen is dropped. Redis may
lose messages: after a gap, and every few seconds, the versions of all watched accounts
are compared with Postgres in one query, and what is newer is pushed. Nothing that
decides about money reads from here.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import orjson

from app.core.bus import Bus
from app.core.telemetry import PUBLISH_FAILURES, log
from app.credits.calls import Answered
from app.credits.credits import Credits
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
class News:
    """What happened between two versions of an account.

    `changes` is None where more happened than is listed, such as an expiry.
    """

    version_before: int
    balance: Balance
    changes: tuple[ReservationChange, ...] | None

    @property
    def version(self) -> int:
        """The account's version afterwards."""
        return self.balance.balance_version

    def merged(self, newer: "News") -> "News":
        """Return both as one; two calls may answer in another order than they committed."""
        first, second = (self, newer) if self.version <= newer.version else (newer, self)
        changes = None
        if (
            first.version == second.version_before
            and first.changes is not None
            and second.changes is not None
            and len(first.changes) + len(second.changes) <= _CHANGES_KEPT
        ):
            changes = first.changes + second.changes
        before = min(first.version_before, second.version_before)
        return News(before, second.balance, changes)

    def encode(self) -> bytes:
        """Return it as it travels."""
        return orjson.dumps(
            {
                "balance": self.balance,
                "version_before": self.version_before,
                "reservations": self.changes,
            },
            default=str,  # the driver's UUID
        )

    @classmethod
    def decode(cls, data: bytes) -> "News":
        """Read what `encode` wrote, perhaps in another release."""
        message = orjson.loads(data)
        listed = message["reservations"]
        return cls(
            message["version_before"],
            _balance(message["balance"]),
            None if listed is None else tuple(map(_reservation, listed)),
        )


@dataclass(frozen=True, slots=True)
class Push:
    """What reaches a watcher: the newest balance, and the reservations known to change.

    `complete` is False where a change may have gone by unseen, as before the first push:
    then look at Postgres.
    """

    balance: Balance
    changes: tuple[ReservationChange, ...]
    complete: bool


class Watch:
    """One subscriber: a slot for the newest, never a backlog."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._version = -1
        self._balance: Balance | None = None
        self._changes: dict[UUID, ReservationChange] = {}
        self._complete = True
        self._wake = asyncio.Event()
        self._not_before = float("-inf")

    @property
    def seen(self) -> int:
        """The newest version that was handed out or waits to be."""
        return self._version if self._balance is None else self._balance.balance_version

    def offer(self, news: News) -> None:
        """Keep what is newer than what was handed out."""
        for change in news.changes or ():
            known = self._changes.get(change.id)
            if change.version > (self._version if known is None else known.version):
                # Taken out first: the order is that of arrival, the oldest goes first.
                self._changes.pop(change.id, None)
                self._changes[change.id] = change
        while len(self._changes) > _CHANGES_KEPT:
            del self._changes[next(iter(self._changes))]
            self._complete = False
        if news.version > self.seen:
            if news.changes is None or news.version_before > self.seen:
                self._complete = False
            self._balance = news.balance
            self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Push:
        """Wait for what is newer, the first time for the snapshot."""
        while True:
            await self._wake.wait()
            if (pause := self._not_before - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._not_before = time.monotonic() + self._interval
            if (push := self._take()) is not None:
                return push

    def _take(self) -> Push | None:
        self._wake.clear()
        balance, changes, complete = self._balance, self._changes, self._complete
        self._balance, self._changes, self._complete = None, {}, True
        if balance is None:
            return None
        self._version = balance.balance_version
        ordered = sorted(changes.values(), key=lambda change: change.version)
        return Push(balance, tuple(ordered), complete)


class Feed:
    """Publishes what `Credits` did and delivers what others did."""

    def __init__(
        self,
        bus: Bus,
        *,
        pushes_per_second: int = 10,
        resync_seconds: float = 10.0,
    ) -> None:
        self._bus = bus
        self._interval = 1.0 / pushes_per_second
        self._resync_seconds = resync_seconds
        self._watches: dict[UUID, set[Watch]] = {}
        self._credits: Credits | None = None
        self._resync_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        bus.on_gap(self._resync_now.set)

    def start(self, credits: Credits) -> None:
        """Begin to compare watched accounts with Postgres."""
        self._credits = credits
        self._task = asyncio.create_task(self._resync_forever(credits), name="feed-resync")

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
            changes = tuple(map(_change, reservations))
            # Other versions than these: something else moved too, such as an expiry.
            versions = list(range(version_before + 1, balance.balance_version + 1))
            listed = [change.version for change in changes] == versions
            news = News(version_before, balance, changes if listed else None)
            self._bus.publish(_channel(balance.account_id), news)
        except Exception:  # noqa: BLE001  # counted and logged; the call stands
            PUBLISH_FAILURES.inc()
            log.exception("feed.publish_failed", account=str(balance.account_id))

    @contextlib.asynccontextmanager
    async def watch(self, account_id: UUID) -> AsyncIterator[Watch]:
        """Watch an account: the snapshot first, then whatever is newer.

        At most `pushes_per_second`; a slow reader gets the newest, never a backlog.
        """
        if self._credits is None:
            raise RuntimeError("the feed was not started")
        watch = Watch(self._interval)
        watches = self._watches.setdefault(account_id, set())
        watches.add(watch)
        try:
            # Listen first, then read: what happens in between is seen twice, never lost.
            await self._bus.subscribe(_channel(account_id), self._deliver)
            snapshot = (await self._credits.check_balance(account_id)).balance
            watch.offer(News(snapshot.balance_version, snapshot, None))
            yield watch
        finally:
            watches.discard(watch)
            if not watches:
                del self._watches[account_id]
                self._bus.unsubscribe(_channel(account_id), self._deliver)

    def _deliver(self, data: bytes) -> None:
        try:
            self._offer(News.decode(data))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it
            # Another release may write other fields; what they tell stands in Postgres too.
            log.warning("feed.unreadable", error=repr(error))
            self._resync_now.set()

    def _offer(self, news: News) -> None:
        for watch in self._watches.get(news.balance.account_id, ()):
            watch.offer(news)

    async def _resync_forever(self, credits: Credits) -> None:
        while True:
            # Nothing lost that we know of: after a while, compare all the same.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._resync_seconds):
                    await self._resync_now.wait()
            self._resync_now.clear()
            try:
                await self._resync(credits)
            except Exception as error:  # noqa: BLE001  # the next round may pass
                log.warning("feed.resync_failed", error=repr(error))
            # However often it is asked for.
            await asyncio.sleep(self._interval)

    async def _resync(self, credits: Credits) -> None:
        known = {
            account_id: min(watch.seen for watch in watches)
            for account_id, watches in self._watches.items()
        }
        if known:
            for balance in await credits.newer_balances(known):
                self._offer(News(balance.balance_version, balance, None))


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
