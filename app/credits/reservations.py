"""Calls about credits in use: reservations, and charges without one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from app.core.database import Database
from app.credits.batches import SHARED_LANES, Batches
from app.credits.calls import Calls, Listener, granted, is_held, is_short, with_balance
from app.credits.rows import (
    Actor,
    Brought,
    Deducted,
    Extended,
    ExtendRequest,
    Facts,
    Released,
    ReleaseRequest,
    Reserved,
    ReserveRequest,
    Settled,
    SettleRequest,
)

_Q = TypeVar("_Q")
_A = TypeVar("_A", Reserved, Extended, Settled, Released)


class Reservations(Calls):
    """Reserve, extend, settle, release, expire; deduct is reserve and settle in one.

    Single requests ride together while a call is on its way: see `Batches`. Their answers
    carry the account's balance after all that rode along.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener | None = None,
        *,
        shared_lanes: int = SHARED_LANES,
    ) -> None:
        # Three operations have shared lanes. A small pool has fewer, or none.
        shared_lanes = min(shared_lanes, database.limit // 7)
        super().__init__(database, listener, kept_connections=3 * shared_lanes)
        self._reserving = Batches(
            _with_balance(self.reserve_set),
            self.reserve_many,
            calls=self._calls,
            shared_lanes=shared_lanes,
            is_held=is_held,
            is_short=is_short,
        )
        self._extending = Batches(_with_balance(self.extend_set), calls=self._calls)
        self._settling = Batches(
            _with_balance(self.settle_set),
            self.settle_many,
            calls=self._calls,
            shared_lanes=shared_lanes,
            is_held=is_held,
        )
        self._releasing = Batches(
            _with_balance(self.release_set),
            self.release_many,
            calls=self._calls,
            shared_lanes=shared_lanes,
            is_held=is_held,
        )

    # Reservations: sets for one account, decided in turn, one answer each.

    async def reserve_set(
        self, account_id: UUID, requests: Sequence[ReserveRequest]
    ) -> list[Reserved]:
        """Set credits aside; each answer has its own outcome."""
        return await self._decide(
            "reserve", Reserved, "credits.reserve", p_account_id=account_id, p_requests=requests
        )

    async def extend_set(
        self, account_id: UUID, requests: Sequence[ExtendRequest]
    ) -> list[Extended]:
        """Raise reservations; each answer has its own outcome."""
        return await self._decide(
            "extend", Extended, "credits.extend", p_account_id=account_id, p_requests=requests
        )

    async def settle_set(
        self, account_id: UUID, requests: Sequence[SettleRequest]
    ) -> list[Settled]:
        """Charge what was used; each answer has its own outcome."""
        return await self._decide(
            "settle", Settled, "credits.settle", p_account_id=account_id, p_requests=requests
        )

    async def release_set(
        self, account_id: UUID, requests: Sequence[ReleaseRequest]
    ) -> list[Released]:
        """Give reserved credits back; each answer has its own outcome."""
        return await self._decide(
            "release", Released, "credits.release", p_account_id=account_id, p_requests=requests
        )

    # The same for many accounts: request i is of account i. None is the answer for accounts of
    # which something needs a second look, and BUSY that for those somebody holds: nothing was
    # done there.

    async def reserve_many(
        self, account_ids: Sequence[UUID], requests: Sequence[ReserveRequest]
    ) -> list[Reserved | None]:
        """Set credits aside on accounts where all of it is plain."""
        return await self._decide_many(
            "reserve",
            Reserved,
            "credits.reserve_many",
            p_account_ids=account_ids,
            p_requests=requests,
        )

    async def settle_many(
        self, account_ids: Sequence[UUID], requests: Sequence[SettleRequest]
    ) -> list[Settled | None]:
        """Charge what was used on accounts where all of it is plain."""
        return await self._decide_many(
            "settle",
            Settled,
            "credits.settle_many",
            p_account_ids=account_ids,
            p_requests=requests,
        )

    async def release_many(
        self, account_ids: Sequence[UUID], requests: Sequence[ReleaseRequest]
    ) -> list[Released | None]:
        """Give reserved credits back on accounts where all of it is plain."""
        return await self._decide_many(
            "release",
            Released,
            "credits.release_many",
            p_account_ids=account_ids,
            p_requests=requests,
        )

    # Single requests.

    async def reserve(self, account_id: UUID, request: ReserveRequest) -> Reserved:
        """Set credits aside, or refuse."""
        return granted(await self._reserving.ask(account_id, request))

    async def extend(self, account_id: UUID, request: ExtendRequest) -> Extended:
        """Raise a reservation, or refuse."""
        return granted(await self._extending.ask(account_id, request))

    async def settle(self, account_id: UUID, request: SettleRequest) -> Settled:
        """Charge what was used, or refuse."""
        return granted(await self._settling.ask(account_id, request))

    async def release(self, account_id: UUID, request: ReleaseRequest) -> Released:
        """Give reserved credits back, or refuse."""
        return granted(await self._releasing.ask(account_id, request))

    async def expire_reservations(self, account_id: UUID) -> Brought:
        """Expire reservations of an account that are past their time, at most 1,000."""
        row = await self._database.call_one(
            Brought, "credits.expire_reservations", p_account_id=account_id
        )
        self._tell(row.version_before, row.balance)
        return row

    async def deduct(
        self,
        account_id: UUID,
        amount: int,
        idempotency_key: str,
        *,
        feature: str | None = None,
        quality: str | None = None,
        model: str | None = None,
        price_version: str | None = None,
        end_customer_ref: str | None = None,
        related_type: str | None = None,
        related_id: str | None = None,
        related_name: str | None = None,
        usage: SettleRequest | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Deducted:
        """Charge for work that is done, or refuse."""
        row = await self._move(
            "deduct",
            Deducted,
            "credits.deduct",
            p_account_id=account_id,
            p_amount=amount,
            p_idempotency_key=idempotency_key,
            p_feature=feature,
            p_quality=quality,
            p_model=model,
            p_price_version=price_version,
            p_end_customer_ref=end_customer_ref,
            p_related_type=related_type,
            p_related_id=related_id,
            p_related_name=related_name,
            p_usage=usage,
            p_reason=reason,
            p_actor=actor,
            p_metadata=metadata,
        )
        return granted(row)


def _with_balance(
    send: Callable[[UUID, Sequence[_Q]], Awaitable[list[_A]]],
) -> Callable[[UUID, Sequence[_Q]], Awaitable[list[_A]]]:
    """Return a call of which every answer carries the balance."""

    async def sent(account_id: UUID, requests: Sequence[_Q]) -> list[_A]:
        return with_balance(await send(account_id, requests))

    return sent
