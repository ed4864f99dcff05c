"""A history in which everything happens at least once, for those who judge the books.

It ends in the middle of things: reservations open, one of them extended, one holding what
a grant left behind when it lapsed; a grant of the future; an allowance that waits for the
end of the period; a month that is not paid for; debt.
"""

from datetime import timedelta
from uuid import UUID

from app.credits import Credits, ExtendRequest, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Reserved
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock, utc

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
# What an unlimited account is given at once.
BLOCK = 1_000_000_000 * CREDIT


class History:
    """Writes the history; every amount and key is its own."""

    def __init__(self, credits: Credits, accounts: Accounts, clock: Clock) -> None:
        self._credits = credits
        self._accounts = accounts
        self._clock = clock
        self._keys = 0

    async def write(self) -> None:
        """Live three months, over the clamped ends of February and March."""
        await self._clock.set(utc("2026-01-31 10:00"))
        busy = await self._accounts.open(
            50,
            project_id=await self._accounts.project(
                period_grant=100 * CREDIT,
                welcome_grant=5 * CREDIT,
                rollover_cap=30 * CREDIT,
                overdraft_limit=20 * CREDIT,
            ),
        )
        await self._call(busy)
        await self._come_late(busy)
        await self._give(busy)
        await self._change_allowance(busy)
        await self._lapse(busy)
        await self._owe()
        await self._take_back()
        unlimited = await self._accounts.open(allowance=-1)
        await self._reserve(unlimited, BLOCK + 1)
        unpaid = await self._accounts.open(allowance=40)
        await self._credits.set_allowance(
            unpaid, 41 * CREDIT, self._key(), funded_until=await self._clock.now() + DAY
        )
        late = [await self._accounts.open(allowance=40, rollover_cap=9 * CREDIT) for _ in range(3)]
        for account in late:
            await self._credits.set_allowance(
                account, 40 * CREDIT, self._key(), funded_until=await self._clock.now() + DAY
            )
        for month in ("2026-02-28 10:00", "2026-03-31 10:01"):
            await self._clock.set(utc(month))
            for account in (busy, unlimited, unpaid, *late):
                await self._credits.catch_up(account)
        await self._pay_late(*late[1:])
        await self._end_in_the_middle(busy)

    def _key(self) -> str:
        self._keys += 1
        return f"key {self._keys}"

    async def _reserve(self, account: UUID, amount: int, ttl: timedelta = 5 * MINUTE) -> Reserved:
        await self._clock.advance(MINUTE / 60)
        return await self._credits.reserve(
            account,
            ReserveRequest(self._key(), amount, int(ttl.total_seconds()), feature="chat"),
        )

    async def _settle(self, account: UUID, reservation: Reserved, amount: int) -> None:
        await self._clock.advance(MINUTE / 60)
        await self._credits.settle(account, SettleRequest(reservation.reservation_id, amount))

    async def _extend(
        self, account: UUID, reservation: Reserved, amount: int, by: timedelta = 0 * MINUTE
    ) -> None:
        until = reservation.expires_at + by
        await self._credits.extend(
            account, ExtendRequest(reservation.reservation_id, amount, until)
        )

    async def _deduct(self, account: UUID, amount: int) -> int:
        await self._clock.advance(MINUTE / 60)
        row = await self._credits.deduct(
            account, amount, self._key(), usage=SettleRequest(None, None, input_tokens=7)
        )
        return row.version

    async def _call(self, busy: UUID) -> None:
        """Extend, with the ledger moving in between; settle less, more and nothing."""
        reserved = await self._reserve(busy, 10 * CREDIT)
        deducted = await self._deduct(busy, 3 * CREDIT)
        await self._extend(busy, reserved, 15 * CREDIT)
        await self._deduct(busy, 2 * CREDIT)
        await self._extend(busy, reserved, 15 * CREDIT, by=10 * MINUTE)
        await self._extend(busy, reserved, 18 * CREDIT, by=10 * MINUTE)
        await self._settle(busy, reserved, 12 * CREDIT + 1)
        await self._settle(busy, await self._reserve(busy, 4 * CREDIT), 0)
        released = await self._reserve(busy, 6 * CREDIT)
        await self._credits.release(busy, ReleaseRequest(released.reservation_id, "not needed"))
        pair = await self._credits.reserve_set(
            busy, [ReserveRequest(self._key(), amount) for amount in (2 * CREDIT, 3 * CREDIT)]
        )
        await self._credits.settle_set(
            busy,
            [
                SettleRequest(pair[0].reservation_id, 1 * CREDIT),
                SettleRequest(pair[1].reservation_id, 5 * CREDIT),
            ],
        )
        for amount in (5 * CREDIT, None):
            await self._credits.refund(
                busy, self._key(), reservation_id=reserved.reservation_id, amount=amount
            )
        await self._credits.refund(busy, self._key(), version=deducted)

    async def _come_late(self, busy: UUID) -> None:
        """Reservations expire; one is settled late, one late for nothing."""
        late = [await self._reserve(busy, amount * CREDIT, MINUTE) for amount in (7, 8, 9)]
        await self._clock.advance(2 * MINUTE)
        await self._credits.expire_reservations(busy)
        await self._settle(busy, late[0], 4 * CREDIT)
        await self._settle(busy, late[1], 0)

    async def _give(self, busy: UUID) -> None:
        """Grants of every source, of now and of the future; one is canceled, one adjusted."""
        now = await self._clock.now()
        for source, priority in (("promotional", 20), ("referral", 50), ("admin_adjustment", 60)):
            await self._credits.issue_grant(
                busy, 8 * CREDIT, source, self._key(), priority=priority, expires_at=now + 9 * DAY
            )
        await self._credits.issue_grant(
            busy,
            6 * CREDIT,
            "promotional",
            self._key(),
            effective_at=now + DAY,
            expires_at=now + 3 * DAY,
        )
        canceled = await self._credits.issue_grant(
            busy, 11 * CREDIT, "top_up", self._key(), effective_at=now + DAY
        )
        await self._credits.void_grant(busy, canceled.grant_id, self._key())
        await self._credits.adjust(busy, 9 * CREDIT, self._key(), "a gift")
        await self._credits.adjust(busy, -4 * CREDIT, self._key(), "a mistake")

    async def _change_allowance(self, busy: UUID) -> None:
        """Up and down at once, and down again when the period ends."""
        await self._credits.set_allowance(busy, 120 * CREDIT, self._key())
        await self._credits.set_allowance(busy, 90 * CREDIT, self._key())
        await self._credits.set_limits(
            busy, self._key(), overdraft_limit=25 * CREDIT, low_balance_percent=30
        )
        await self._credits.set_allowance(
            busy, 60 * CREDIT, self._key(), takes_effect="period_end", rollover_cap=10 * CREDIT
        )
        idle = await self._accounts.open()
        await self._credits.set_allowance(idle, 13 * CREDIT, self._key())

    async def _lapse(self, busy: UUID) -> Reserved:
        """A grant ends while a reservation holds most of it."""
        await self._credits.issue_grant(
            busy,
            6 * CREDIT,
            "promotional",
            self._key(),
            priority=0,
            expires_at=await self._clock.now() + HOUR,
        )
        holding = await self._reserve(busy, 5 * CREDIT, DAY)
        await self._clock.advance(2 * HOUR)
        await self._credits.catch_up(busy)
        await self._settle(busy, holding, 2 * CREDIT)
        return holding

    async def _owe(self) -> None:
        """Spend more than there is; new grants pay it, some is forgiven, some stays."""
        debtor = await self._accounts.open(10, overdraft=20)
        await self._settle(debtor, await self._reserve(debtor, 15 * CREDIT), 40 * CREDIT)
        for amount in (12 * CREDIT, 14 * CREDIT):
            await self._credits.issue_grant(debtor, amount, "top_up", self._key())
        await self._credits.forgive_overage(debtor, self._key(), "an apology", amount=1 * CREDIT)
        await self._credits.issue_grant(debtor, 8 * CREDIT, "top_up", self._key())
        await self._deduct(debtor, 16 * CREDIT)
        await self._reserve(debtor, 3 * CREDIT, DAY)

    async def _take_back(self) -> None:
        """Voids that take, that leave something missing, and that turn it into debt."""
        for becomes_overage in (False, True):
            account = await self._accounts.open()
            grant = await self._credits.issue_grant(account, 20 * CREDIT, "top_up", self._key())
            await self._credits.void_grant(account, grant.grant_id, self._key(), amount=5 * CREDIT)
            await self._deduct(account, 8 * CREDIT)
            await self._credits.void_grant(
                account,
                grant.grant_id,
                self._key(),
                amount=10 * CREDIT,
                missing_becomes_overage=becomes_overage,
            )
            await self._credits.void_grant(
                account, grant.grant_id, self._key(), missing_becomes_overage=becomes_overage
            )

    async def _pay_late(self, now: UUID, at_the_end: UUID) -> None:
        """A month that began unpaid is paid for; one that nobody pays for keeps waiting."""
        until = await self._clock.now() + DAY
        await self._credits.set_allowance(now, 45 * CREDIT, self._key(), funded_until=until)
        await self._credits.set_allowance(
            at_the_end, 30 * CREDIT, self._key(), takes_effect="period_end", funded_until=until
        )

    async def _end_in_the_middle(self, busy: UUID) -> None:
        now = await self._clock.now()
        await self._credits.issue_grant(
            busy, 17 * CREDIT, "top_up", self._key(), effective_at=now + 40 * DAY
        )
        await self._credits.issue_grant(
            busy, 7 * CREDIT, "promotional", self._key(), priority=0, expires_at=now + HOUR
        )
        await self._extend(busy, await self._reserve(busy, 2 * CREDIT, DAY), 4 * CREDIT)
        await self._clock.advance(2 * HOUR)
        await self._credits.catch_up(busy)
        await self._credits.set_allowance(busy, 70 * CREDIT, self._key(), takes_effect="period_end")
