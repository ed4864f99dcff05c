"""Calls that give credits and take them back."""

from datetime import datetime
from uuid import UUID

from app.credits.calls import Calls
from app.credits.rows import Actor, Adjusted, Facts, Forgiven, Granted, Refunded, Voided


class Grants(Calls):
    """Grant, void, refund, adjust, forgive."""

    async def issue_grant(
        self,
        account_id: UUID,
        amount: int,
        source: str,
        idempotency_key: str,
        *,
        category: str | None = None,
        priority: int = 50,
        effective_at: datetime | None = None,
        expires_at: datetime | None = None,
        source_ref: str | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Granted:
        """Give credits, at once or at a time to come."""
        return await self._move(
            "grant",
            Granted,
            "credits.issue_grant",
            p_account_id=account_id,
            p_amount=amount,
            p_source=source,
            p_idempotency_key=idempotency_key,
            p_category=category,
            p_priority=priority,
            p_effective_at=effective_at,
            p_expires_at=expires_at,
            p_source_ref=source_ref,
            p_reason=reason,
            p_actor=actor,
            p_metadata=metadata,
        )

    async def void_grant(
        self,
        account_id: UUID,
        grant_id: UUID,
        idempotency_key: str,
        *,
        amount: int | None = None,
        missing_becomes_overage: bool = False,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> Voided:
        """Take a grant back as far as reservations leave it."""
        return await self._move(
            "void",
            Voided,
            "credits.void_grant",
            p_account_id=account_id,
            p_grant_id=grant_id,
            p_idempotency_key=idempotency_key,
            p_amount=amount,
            p_missing_becomes_overage=missing_becomes_overage,
            p_reason=reason,
            p_actor=actor,
        )

    async def refund(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        reservation_id: UUID | None = None,
        version: int | None = None,
        amount: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> Refunded:
        """Give back what a call was charged; all of what is left unless told otherwise."""
        return await self._move(
            "refund",
            Refunded,
            "credits.refund",
            p_account_id=account_id,
            p_idempotency_key=idempotency_key,
            p_reservation_id=reservation_id,
            p_version=version,
            p_amount=amount,
            p_reason=reason,
            p_actor=actor,
        )

    async def adjust(
        self,
        account_id: UUID,
        amount: int,
        idempotency_key: str,
        reason: str,
        *,
        expires_at: datetime | None = None,
        actor: Actor | None = None,
        metadata: Facts | None = None,
    ) -> Adjusted:
        """Put credits in or take credits out, by an administrator's word."""
        return await self._move(
            "adjust",
            Adjusted,
            "credits.adjust",
            p_account_id=account_id,
            p_amount=amount,
            p_idempotency_key=idempotency_key,
            p_reason=reason,
            p_expires_at=expires_at,
            p_actor=actor,
            p_metadata=metadata,
        )

    async def forgive_overage(
        self,
        account_id: UUID,
        idempotency_key: str,
        reason: str,
        *,
        amount: int | None = None,
        actor: Actor | None = None,
    ) -> Forgiven:
        """Let debt go; all that is owed unless told otherwise."""
        return await self._move(
            "forgive_overage",
            Forgiven,
            "credits.forgive_overage",
            p_account_id=account_id,
            p_idempotency_key=idempotency_key,
            p_reason=reason,
            p_amount=amount,
            p_actor=actor,
        )
