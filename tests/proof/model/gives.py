"""Credits that are given, and taken back: grant, void, refund, adjust, forgive."""

from datetime import datetime, timedelta
from typing import Any

from app.credits.rows import Adjusted, Forgiven, Granted, Refunded, Voided
from tests.proof.model.account import Account
from tests.proof.model.call import BAD_AMOUNT, Call, check, one
from tests.proof.model.shapes import (
    LARGEST,
    LIFETIME,
    NEVER,
    OWED_TOO,
    Entry,
    Grant,
    Refused,
    Reservation,
)
from tests.proof.model.uses import find, short

BAD_END = {"field": "expiresAt", "reason": "must lie after the grant takes effect"}
BAD_FUTURE = {"field": "expiresAt", "reason": "must lie in the future"}
THIRTY_DAYS = timedelta(days=30)
PAID_SOURCES = {"top_up"}


def _refuse_beyond(account: Account, amount: int) -> None:
    if amount > account.room:
        raise Refused("BALANCE_LIMIT", {"limit": LIFETIME})


# Grant.


def issue_grant(
    account: Account,
    clock: datetime,
    amount: int,
    source: str,
    key: str,
    *,
    category: str | None = None,
    priority: int = 50,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> Granted:
    check(key=key, amount=amount)
    kind = category or ("paid" if source in PAID_SOURCES else "promotional")

    def act(call: Call) -> tuple[Grant]:
        begins = max(effective_at or call.now, call.now)
        if expires_at is not None and expires_at <= begins:
            raise Refused("VALIDATION_ERROR", BAD_END)
        _refuse_beyond(account, amount)
        given = account.give(
            *("issue_grant", source, kind, priority, amount, call.now, expires_at),
            effective_at=effective_at,
        )
        return (given,)

    asked = (amount, source, kind, priority, effective_at, expires_at)
    call, replayed, (given,) = one(account, clock, "grant", key, asked, act)
    return Granted(
        grant_id=given,
        state=given.state,
        amount=given.amount,
        grant_remaining=given.remaining,
        effective_at=given.effective_at,
        expires_at=given.expires_at,
        replayed=replayed,
        version=given.version,
        version_before=call.version_before,
        balance=account.balance(),
    )


# Void.


def void_grant(
    account: Account,
    clock: datetime,
    given: Any,
    key: str,
    *,
    amount: int | None = None,
    missing_becomes_overage: bool = False,
) -> Voided:
    check(key=key, amount=amount)

    def act(call: Call) -> tuple[int, int, int, int, int | None]:
        if not isinstance(given, Grant):
            raise Refused("GRANT_NOT_FOUND", {"grantId": str(given)})
        left = given.amount - given.voided
        wanted = left if amount is None else amount
        is_part = given.state == "scheduled" and wanted != left
        if wanted > left or left == 0 or is_part:
            reason = f"must be at most the {left} micro-credits of the grant not yet taken back"
            reason += ", and all of them" if given.state == "scheduled" else ""
            raise Refused("VALIDATION_ERROR", {"field": "amount", "reason": reason})
        if given.state == "scheduled":
            given.voided += wanted
            account.use(given, wanted)
            account.note("cancel_grant", call.now)
            account.due_at = account.next_due()
            return wanted, wanted, 0, 0, account.version
        can = given.remaining - account.kept(given) if given.state == "live" else 0
        taken = min(wanted, can)
        if taken:
            account.take(given, taken, "void", "void_grant", call.now)
        missing, owed = wanted - taken, 0
        if missing_becomes_overage or account.policy.clawback_creates_overage:
            owed = max(0, min(missing, given.amount - given.forfeited - given.owed))
        if owed:
            _claw_back(call, given, owed)
        given.voided += wanted
        account.due_at = account.next_due()
        return wanted, taken, owed, missing - owed, account.version if taken or owed else None

    asked = (given, amount, missing_becomes_overage)
    call, replayed, (wanted, taken, owed, missing, version) = one(
        account, clock, "void", key, asked, act, sweeps=True
    )
    return Voided(
        grant_id=given,
        requested=wanted,
        taken=taken,
        overage_added=owed,
        missing=missing,
        replayed=replayed,
        version=version,
        version_before=call.version_before,
        balance=account.balance(),
    )


def _claw_back(call: Call, given: Grant, owed: int) -> None:
    """What was used of a grant is owed: other grants pay for it, in draw-down order."""
    account = call.account
    if account.granted_total + account.overage + max(0, owed - account.available) > OWED_TOO:
        raise Refused("BALANCE_LIMIT", {"limit": LIFETIME})
    account.charge(owed)
    account.clawed_back_total += owed
    given.owed += owed
    drawn = account.draw(owed)
    account.write("void", "void_grant", -owed, call.now, grant=given, drawn=drawn)


# Refund.


def refund(
    account: Account,
    clock: datetime,
    key: str,
    *,
    reservation: Any = None,
    version: int | None = None,
    amount: int | None = None,
) -> Refunded:
    check(key=key, amount=amount)

    def act(call: Call) -> tuple[int, int, list[Grant], int]:
        entry = _charged(account, reservation, version)
        charged = -entry.amount if entry is not None else 0
        refundable = charged - _refunded(account, entry)
        wanted = refundable if amount is None else amount
        if wanted > refundable or refundable == 0:
            asked = charged if amount is None else amount
            facts = {"requested": asked, "refundable": refundable}
            raise Refused("REFUND_EXCEEDS_SETTLED", facts)
        assert entry is not None
        _refuse_beyond(account, wanted)
        grants = _give_back(call, entry, charged - refundable, wanted)
        return entry.version, wanted, grants, account.version

    subject = (reservation, version, amount)
    call, replayed, (of, given, grants, at) = one(account, clock, "refund", key, subject, act)
    entry = next(e for e in account.ledger if e.version == of)
    return Refunded(
        refunded_version=of,
        amount=given,
        refundable=-entry.amount - _refunded(account, entry),
        grant_ids=grants,
        replayed=replayed,
        version=at,
        version_before=call.version_before,
        balance=account.balance(),
    )


def _charged(account: Account, reservation: Any, version: int | None) -> Entry | None:
    """Return the row of the ledger that is to be refunded; none if nothing was charged."""
    if version is not None:
        for entry in account.ledger:
            if entry.version == version and entry.type == "consumption":
                return entry
        raise Refused("TRANSACTION_NOT_FOUND", {"version": version})
    made: Reservation = find(reservation)
    for entry in account.ledger:
        if entry.version == made.settled_version:
            return entry
    return None


def _refunded(account: Account, entry: Entry | None) -> int:
    if entry is None:
        return 0
    return sum(g.amount for g in account.grants if g.refund_of == entry.version)


def _give_back(call: Call, entry: Entry, done: int, wanted: int) -> list[Grant]:
    """Give back what was drawn last first, one grant for each category."""
    account, earliest = call.account, call.now + THIRTY_DAYS
    parts = [(g.category, g.ends, part) for g, part in entry.drawn]
    unfunded = -entry.amount - sum(part for *_, part in parts)
    if unfunded:
        parts.append((*_payer(account, entry), unfunded))
    back: dict[str, tuple[int, datetime]] = {}
    for category, ends, part in reversed(parts):
        skipped = min(part, done)
        taken = min(part - skipped, wanted)
        done, wanted = done - skipped, wanted - taken
        if taken:
            amount, latest = back.get(category, (0, earliest))
            back[category] = (amount + taken, max(latest, ends))
    grants = []
    for category in sorted(back):
        amount, ends = back[category]
        given = account.give(
            *("refund", "refund", category, 50, amount, call.now),
            None if ends == NEVER else ends,
            refund_of=entry.version,
        )
        grants.append(given)
    return grants


def _payer(account: Account, entry: Entry) -> tuple[str, datetime]:
    """Return the kind of the first grant that paid debt after a charge, and its end."""
    for later in account.ledger:
        if later.version > entry.version and later.amount > 0 and later.drawn:
            given = later.drawn[0][0]
            return given.category, given.ends
    # In thirty days, as every refund lasts at least.
    return "promotional", entry.created_at


# Adjust, forgive.


def adjust(
    account: Account,
    clock: datetime,
    amount: int,
    key: str,
    reason: str,
    *,
    expires_at: datetime | None = None,
) -> Adjusted:
    check(key=key, reason=reason)
    if not 0 < abs(amount) <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_AMOUNT)

    def act(call: Call) -> tuple[Grant | None, int]:
        if amount > 0:
            if expires_at is not None and expires_at <= call.now:
                raise Refused("VALIDATION_ERROR", BAD_FUTURE)
            _refuse_beyond(account, amount)
            given = account.give(
                *("adjust", "admin_adjustment", "promotional", 50, amount, call.now, expires_at)
            )
            return given, account.version
        if -amount > account.available:
            raise short(-amount, account.available)
        account.available += amount
        account.clawed_back_total -= amount
        drawn = account.draw(-amount, forfeits=True)
        entry = account.write("admin_adjustment", "adjust", amount, call.now, drawn=drawn)
        return None, entry.version

    call, replayed, (given, version) = one(
        account, clock, "adjust", key, (amount, expires_at), act, sweeps=True
    )
    return Adjusted(
        amount=amount,
        grant_id=given,
        replayed=replayed,
        version=version,
        version_before=call.version_before,
        balance=account.balance(),
    )


def forgive_overage(
    account: Account, clock: datetime, key: str, reason: str, *, amount: int | None = None
) -> Forgiven:
    check(key=key, amount=amount, reason=reason)

    def act(call: Call) -> tuple[int, int]:
        owed = account.unfunded
        forgiven = owed if amount is None else amount
        if forgiven > owed or owed == 0:
            told = f"must be at most the {owed} micro-credits that are owed"
            raise Refused("VALIDATION_ERROR", {"field": "amount", "reason": told})
        _refuse_beyond(account, forgiven)
        account.give(*("forgive_overage", "reversal", "promotional", 50, forgiven, call.now, None))
        return forgiven, account.version

    call, replayed, (forgiven, version) = one(account, clock, "forgive_overage", key, amount, act)
    return Forgiven(
        amount=forgiven,
        replayed=replayed,
        version=version,
        version_before=call.version_before,
        balance=account.balance(),
    )
