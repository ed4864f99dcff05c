"""A walk over an account: things done in any order, with amounts and times by chance."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TypeVar
from uuid import UUID

from app.core.refusals import Refusal
from app.credits import (
    Credits,
    ExtendRequest,
    ReleaseRequest,
    ReserveRequest,
    SettleRequest,
)
from tests.support.accounts import CREDIT
from tests.support.clock import Clock

_Q = TypeVar("_Q")
_R = TypeVar("_R")

OPERATIONS = {
    "wait": 4,
    "leap": 1,
    "back": 1,
    "reserve": 4,
    "reserve_many": 1,
    "settle": 3,
    "release": 1,
    "release_many": 1,
    "extend": 1,
    "deduct": 1,
    "grant": 3,
    "void": 1,
    "refund": 1,
    "adjust": 1,
    "forgive": 1,
    "allow": 1,
    "limit": 1,
    "expire": 1,
}
STEPS = 20


def plan(seed: int) -> list[tuple[str, int, int]]:
    """Return what to do, with an amount and a choice for each step.

    Drawn from a seed and not by hypothesis, whose first lists do the same thing over and over.
    """
    chance = Random(seed)
    operations = chance.choices(list(OPERATIONS), list(OPERATIONS.values()), k=STEPS)
    return [(name, chance.randint(0, 60), chance.randint(0, 1000)) for name in operations]


@dataclass
class Walk:
    """An account, and what was done to it so far."""

    credits: Credits
    clock: Clock
    account: UUID
    reservations: list[UUID] = field(default_factory=list)
    grants: list[UUID] = field(default_factory=list)
    charges: list[int] = field(default_factory=list)
    refusals: set[str] = field(default_factory=set)
    # Whether what could be asked for as a set is asked for one by one.
    is_split: bool = False

    async def step(self, operation: str, amount: int, choice: int, key: str) -> None:
        """Do one thing; a refusal is an answer too."""
        act = getattr(self, operation)
        try:
            await act(amount * CREDIT, choice, key)
        except Refusal as refusal:
            self.refusals.add(refusal.code)

    async def _sets(
        self, call: Callable[[UUID, list[_Q]], Awaitable[list[_R]]], requests: list[_Q]
    ) -> list[_R]:
        if not self.is_split:
            return await call(self.account, requests)
        return [row for request in requests for row in await call(self.account, [request])]

    async def wait(self, _: int, choice: int, __: str) -> None:
        await self.clock.advance(timedelta(minutes=choice // 2))

    async def leap(self, _: int, choice: int, __: str) -> None:
        await self.clock.advance(timedelta(hours=choice))

    async def back(self, _: int, choice: int, __: str) -> None:
        await self.clock.advance(-timedelta(hours=choice / 100))

    async def reserve(self, amount: int, choice: int, key: str) -> None:
        request = ReserveRequest(key, amount // 3 + 1, 86_400 - 70 * choice)
        self.reservations.append((await self.credits.reserve(self.account, request)).reservation_id)

    async def reserve_many(self, amount: int, choice: int, key: str) -> None:
        rows = await self._sets(
            self.credits.reserve_set,
            [
                ReserveRequest(f"{key}-{n % 3}", amount // 5 + n % 3 + 1, 86_400 - 70 * choice)
                for n in range(2 + choice % 4)
            ],
        )
        self.reservations += [row.reservation_id for row in rows if row.outcome == "OK"]

    async def settle(self, amount: int, choice: int, _: str) -> None:
        if not self.reservations:
            return
        # One, or a set of three that begins with it.
        first = choice % len(self.reservations)
        rows = await self._sets(
            self.credits.settle_set,
            [
                SettleRequest(r, amount // n)
                for n, r in enumerate(self.reservations[first : first + 1 + choice % 3], 1)
            ],
        )
        self.charges += [row.version for row in rows if row.outcome == "OK"]

    async def release(self, _: int, choice: int, __: str) -> None:
        if self.reservations:
            reservation = self.reservations[choice % len(self.reservations)]
            await self.credits.release(self.account, ReleaseRequest(reservation))

    async def release_many(self, _: int, choice: int, __: str) -> None:
        if self.reservations:
            first = choice % len(self.reservations)
            some = self.reservations[first : first + 1 + choice % 4]
            await self._sets(self.credits.release_set, [ReleaseRequest(r) for r in some])

    async def extend(self, amount: int, choice: int, _: str) -> None:
        if self.reservations:
            reservation = self.reservations[choice % len(self.reservations)]
            await self.credits.extend(self.account, ExtendRequest(reservation, amount + 1))

    async def deduct(self, amount: int, _: int, key: str) -> None:
        self.charges.append((await self.credits.deduct(self.account, amount + 1, key)).version)

    async def grant(self, amount: int, choice: int, key: str) -> None:
        now = await self.clock.now()
        row = await self.credits.issue_grant(
            self.account,
            amount + 1,
            "top_up" if choice % 2 else "promotional",
            key,
            priority=choice % 11,
            effective_at=now + timedelta(minutes=choice // 2) if choice % 5 == 0 else None,
            expires_at=now + timedelta(minutes=choice // 2 + 1) if choice % 4 else None,
        )
        self.grants.append(row.grant_id)

    async def void(self, _: int, choice: int, key: str) -> None:
        if self.grants:
            await self.credits.void_grant(
                self.account,
                self.grants[choice % len(self.grants)],
                key,
                missing_becomes_overage=choice % 2 == 0,
            )

    async def refund(self, amount: int, choice: int, key: str) -> None:
        if self.charges:
            row = await self.credits.refund(
                self.account,
                key,
                version=self.charges[choice % len(self.charges)],
                amount=amount + 1 if choice % 2 else None,
            )
            self.grants += row.grant_ids

    async def adjust(self, amount: int, choice: int, key: str) -> None:
        signed = amount + 1 if choice % 2 else -amount - 1
        await self.credits.adjust(self.account, signed, key, "reason")

    async def forgive(self, _: int, __: int, key: str) -> None:
        await self.credits.forgive_overage(self.account, key, "reason")

    async def allow(self, amount: int, choice: int, key: str) -> None:
        await self.credits.set_allowance(
            self.account,
            -1 if choice % 10 == 0 else amount,
            key,
            takes_effect="now" if choice % 2 else "period_end",
            rollover_cap=amount // 2,
            funded_until=await self.clock.now() if choice % 7 == 0 else None,
        )

    async def limit(self, amount: int, _: int, key: str) -> None:
        await self.credits.set_limits(self.account, key, overdraft_limit=amount)

    async def expire(self, _: int, __: int, ___: str) -> None:
        await self.credits.expire_reservations(self.account)
