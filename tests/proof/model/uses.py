"""Credits in use: reserve, extend, settle, release, expire, deduct, look."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from app.credits.rows import (
    Brought,
    Checked,
    Deducted,
    Extended,
    ExtendRequest,
    Released,
    ReleaseRequest,
    Reserved,
    ReserveRequest,
    Settled,
    SettleRequest,
)
from tests.proof.model.account import Account
from tests.proof.model.call import BAD_AMOUNT, Call, begin, check, decide
from tests.proof.model.shapes import BLOCK, LARGEST, LIFETIME, OWED_TOO, Entry, Refused, Reservation

BAD_TTL = {"field": "ttlSeconds", "reason": "must be from 1 to 86400"}
BAD_SETTLE = {"field": "amount", "reason": "must be at least 0 and at most 10^12 credits"}
BAD_USAGE = {"field": "usage", "reason": "must not be negative"}
BAD_END = {"field": "expiresAt", "reason": "must be at most 24 hours from now"}
BAD_REASON = {"field": "reason", "reason": "must have at most 1000 characters"}


def secure(call: Call, amount: int) -> None:
    """See that so much can be spent: by what is overdue, by another block, or refuse."""
    account = call.account
    if amount > account.spendable:
        account.expire_overdue(call.now)
    if amount > account.spendable and account.is_unlimited and account.is_funded:
        block = max(BLOCK, amount + account.overage)
        if block <= account.room:
            account.give_month("plan_allocation", "replenish", block, call.now)
    if amount > account.spendable:
        raise short(amount, account.spendable)


def short(amount: int, spendable: int) -> Refused:
    facts = {"required": amount, "spendable": spendable, "shortfall": amount - spendable}
    return Refused("INSUFFICIENT_CREDITS", facts)


def find(reservation: Any) -> Reservation:
    """Return a reservation of this account; requests name it by the model's own."""
    if not isinstance(reservation, Reservation):
        raise Refused("RESERVATION_NOT_FOUND", {"reservationId": str(reservation)})
    return reservation


def is_settled(reservation: Reservation) -> Refused:
    facts = {"reservationId": reservation, "settledAmount": reservation.settled_amount}
    return Refused("RESERVATION_SETTLED", facts)


# Reserve.


def reserve(
    account: Account, clock: datetime, requests: Sequence[ReserveRequest]
) -> list[Reserved]:
    names = ("reservation_id", "status", "amount", "expires_at", "version")
    return _ended(account, decide(account, clock, requests, Reserved, names, _reserve))


def _reserve(call: Call, request: ReserveRequest) -> dict[str, Any]:
    account = call.account
    check(key=request.idempotency_key, amount=request.amount)
    if not 1 <= request.ttl_seconds <= 86_400:
        raise Refused("VALIDATION_ERROR", BAD_TTL)
    asked = request._replace(related_name=None, actor=None)
    known = account.keys.get(("reserve", request.idempotency_key))
    if known is not None:
        if known[0] != asked:
            raise Refused("DUPLICATE_REQUEST", {"idempotencyKey": request.idempotency_key})
        return _shown(known[1], replayed=True)
    if call.is_behind:
        raise Refused("BUSY")
    secure(call, request.amount)
    account.charge(request.amount)
    account.reserved += request.amount
    expires_at = call.now + timedelta(seconds=request.ttl_seconds)
    made = Reservation(
        request.idempotency_key,
        asked,
        request.amount,
        call.now,
        expires_at,
        account.next_version(),
        (request.amount, expires_at),
    )
    account.reservations.append(made)
    account.held.append(made)
    account.keys["reserve", request.idempotency_key] = (asked, made)
    return _shown(made, replayed=False)


def _shown(made: Reservation, *, replayed: bool) -> dict[str, Any]:
    amount, expires_at = made.first
    return {
        "replayed": replayed,
        "reservation_id": made,
        "status": made.status,
        "amount": amount,
        "expires_at": expires_at,
        "version": made.opened_version,
    }


# Extend.


def extend(account: Account, clock: datetime, requests: Sequence[ExtendRequest]) -> list[Extended]:
    names = ("reservation_id", "status", "amount", "expires_at", "version")
    return _ended(account, decide(account, clock, requests, Extended, names, _extend))


def _extend(call: Call, request: ExtendRequest) -> dict[str, Any]:
    account = call.account
    if request.amount is not None and not 0 < request.amount <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_AMOUNT)
    if request.expires_at is not None and request.expires_at > call.now + timedelta(hours=24):
        raise Refused("VALIDATION_ERROR", BAD_END)
    made = find(request.reservation_id)
    _open(made)
    amount = max(made.amount, request.amount or 0)
    expires_at = max(made.expires_at, request.expires_at or made.expires_at)
    version = None
    if (amount, expires_at) != (made.amount, made.expires_at):
        if call.is_behind:
            raise Refused("BUSY")
        more = amount - made.amount
        if more > account.spendable:
            account.expire_overdue(call.now)
            # It may have been overdue itself.
            _open(made)
        secure(call, more)
        account.charge(more)
        account.reserved += more
        made.amount, made.expires_at = amount, expires_at
        version = account.next_version()
        made.extensions.append((call.now, version, amount, expires_at))
    return {
        "replayed": version is None,
        "reservation_id": made,
        "status": "pending",
        "amount": amount,
        "expires_at": expires_at,
        "version": version,
    }


def _open(made: Reservation) -> None:
    if made.status == "settled":
        raise is_settled(made)
    if made.status != "pending":
        code = {"released": "RESERVATION_RELEASED", "expired": "RESERVATION_EXPIRED"}[made.status]
        raise Refused(code, {"reservationId": made})


# Settle.


def settle(account: Account, clock: datetime, requests: Sequence[SettleRequest]) -> list[Settled]:
    names = ("reservation_id", "status", "amount", "settled_amount", "late", "version")
    if 1 < len(requests) <= 256:
        call = begin(account, clock)
        if account.lapsed():
            # While anything is lapsed, sets are settled one by one.
            call.end()
            rows = [row for one in requests for row in settle(account, clock, [one])]
            return [
                replace(
                    row,
                    ordinal=n,
                    version_before=call.version_before,
                    balance=row.balance if n == len(rows) else None,
                )
                for n, row in enumerate(rows, 1)
            ]
        given = decide(account, clock, requests, Settled, names, _settle, call=call)
        return _ended(account, given)
    return _ended(account, decide(account, clock, requests, Settled, names, _settle))


def _settle(call: Call, request: SettleRequest) -> dict[str, Any]:
    actual = request.amount
    if actual is None or not 0 <= actual <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_SETTLE)
    if min(request.input_tokens or 0, request.output_tokens or 0) < 0:
        raise Refused("VALIDATION_ERROR", BAD_USAGE)
    made = find(request.reservation_id)
    if made.status == "settled":
        if made.settled_amount != actual:
            raise is_settled(made)
        return _charged(made, replayed=True)
    if made.status == "released":
        raise Refused("RESERVATION_RELEASED", {"reservationId": made})
    if call.is_behind:
        raise Refused("BUSY")
    policy = call.account.policy
    limit = max(policy.settle_limit_floor, policy.settle_limit_factor * made.amount)
    if actual > limit:
        facts = {"reservationId": made, "amount": actual, "limit": limit}
        raise Refused("SETTLE_AMOUNT_IMPLAUSIBLE", facts)
    _book(call, made, actual)
    return _charged(made, replayed=False)


def _book(call: Call, made: Reservation, actual: int) -> None:
    """Charge what was used; late or not, nothing is free and nothing is capped."""
    account, is_late = call.account, made.status == "expired"
    held = 0 if is_late else made.amount
    _refuse_endless_debt(account, actual, held)
    if not is_late:
        account.held.remove(made)
        made.closed_at = call.now
    account.reserved -= held
    account.receive(max(0, held - actual))
    account.charge(max(0, actual - held))
    account.spent_total += actual
    made.status, made.settled_amount = "settled", actual
    drawn = account.draw(actual, None if is_late else made.opened_at)
    if actual:
        more = {"reservation": made, "estimated": made.amount, "drawn": drawn}
        account.write("consumption", "settle", -actual, call.now, **more)
    else:
        # Under a version, but no row of the ledger tells of nothing.
        account.next_version()
    made.settled_version = account.version
    if not is_late:
        made.closed_version = account.version
        account.lapse(call.now)


def _refuse_endless_debt(account: Account, actual: int, returned: int) -> None:
    debt = account.overage + max(0, actual - returned - account.available)
    if account.granted_total + debt > OWED_TOO:
        raise Refused("BALANCE_LIMIT", {"limit": LIFETIME})


def _charged(made: Reservation, *, replayed: bool) -> dict[str, Any]:
    return {
        "replayed": replayed,
        "reservation_id": made,
        "status": "settled",
        "amount": made.amount,
        "settled_amount": made.settled_amount,
        "late": made.closed_version != made.settled_version,
        "version": made.settled_version,
    }


# Release, expire.


def release(
    account: Account, clock: datetime, requests: Sequence[ReleaseRequest]
) -> list[Released]:
    names = ("reservation_id", "status", "amount", "version")
    rows = decide(
        *(account, clock, requests, Released, names, _release),
        after=lambda call: account.lapse(call.now),
    )
    return _ended(account, rows)


def _release(call: Call, request: ReleaseRequest) -> dict[str, Any]:
    if len(request.reason or "") > 1000:
        raise Refused("VALIDATION_ERROR", BAD_REASON)
    made = find(request.reservation_id)
    if made.status == "settled":
        raise is_settled(made)
    replayed = made.status != "pending"
    if not replayed:
        if call.is_behind:
            raise Refused("BUSY")
        call.account.close(made, "released", call.now)
    return {
        "replayed": replayed,
        "reservation_id": made,
        "status": made.status,
        "amount": made.amount,
        "version": made.closed_version,
    }


def _ended(account: Account, rows: list[Any]) -> list[Any]:
    """Return the rows with the balance on the last."""
    rows[-1] = replace(rows[-1], balance=account.balance())
    return rows


def expire_reservations(account: Account, clock: datetime) -> Brought:
    """Expire what is past its time; what ends after what is still due waits for it."""
    call = begin(account, clock)
    call.sweep()
    call.end()
    return Brought(call.version_before, account.balance())


def catch_up(account: Account, clock: datetime) -> Brought:
    call = begin(account, clock)
    call.end()
    return Brought(call.version_before, account.balance())


def check_balance(account: Account, clock: datetime, required: int) -> Checked:
    """Look; what is due is worked first, as far as one call goes."""
    if account.due_at <= clock:
        catch_up(account, clock)
    lacks = max(0, required - account.spendable)
    if account.is_unlimited and account.is_funded:
        lacks = 0
    return Checked(account.due_at <= clock, lacks == 0, required, lacks, account.balance())


# Deduct.


def deduct(account: Account, clock: datetime, amount: int, key: str, **subject: Any) -> Deducted:
    check(key=key, amount=amount)
    asked = (amount, subject)
    known = account.keys.get(("deduct", key))
    if known is not None and known[0] != asked:
        raise Refused("DUPLICATE_REQUEST", {"idempotencyKey": key})
    call = begin(account, clock)
    if known is not None:
        call.end()
        return _deducted(call, amount, known[1], replayed=True)
    try:
        entry = _spend(call, amount)
    finally:
        # Refused or not: what was due, and what was overdue, stays worked.
        call.end()
    account.keys["deduct", key] = (asked, entry.version)
    return _deducted(call, amount, entry.version, replayed=False)


def _spend(call: Call, amount: int) -> Entry:
    account = call.account
    if call.is_behind:
        raise Refused("BUSY")
    secure(call, amount)
    account.charge(amount)
    account.spent_total += amount
    drawn = account.draw(amount)
    return account.write("consumption", "deduct", -amount, call.now, drawn=drawn)


def _deducted(call: Call, amount: int, version: int, *, replayed: bool) -> Deducted:
    return Deducted(
        outcome="OK",
        facts=None,
        amount=amount,
        replayed=replayed,
        version=version,
        version_before=call.version_before,
        balance=call.account.balance(),
    )
