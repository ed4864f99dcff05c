"""Which rules a run has met: what it never met, it has not proven."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.proof.model.account import Account
from tests.proof.model.shapes import Entry, Refused
from tests.proof.model.steps import MANY, Step

# Every outcome an operation can have, and what must have come about between them.
_OUTCOMES = {
    "reserve": "OK REPLAYED VALIDATION_ERROR INSUFFICIENT_CREDITS DUPLICATE_REQUEST BUSY",
    "reserve_set": "OK REPLAYED VALIDATION_ERROR INSUFFICIENT_CREDITS DUPLICATE_REQUEST",
    "extend": "OK REPLAYED VALIDATION_ERROR RESERVATION_NOT_FOUND RESERVATION_SETTLED"
    " RESERVATION_RELEASED RESERVATION_EXPIRED INSUFFICIENT_CREDITS",
    "extend_set": "OK REPLAYED RESERVATION_SETTLED RESERVATION_RELEASED RESERVATION_EXPIRED"
    " INSUFFICIENT_CREDITS",
    "settle": "OK REPLAYED VALIDATION_ERROR RESERVATION_NOT_FOUND RESERVATION_SETTLED"
    " RESERVATION_RELEASED SETTLE_AMOUNT_IMPLAUSIBLE BALANCE_LIMIT BUSY",
    "settle_set": "OK REPLAYED VALIDATION_ERROR RESERVATION_SETTLED RESERVATION_RELEASED"
    " SETTLE_AMOUNT_IMPLAUSIBLE BALANCE_LIMIT",
    "release": "OK REPLAYED VALIDATION_ERROR RESERVATION_NOT_FOUND RESERVATION_SETTLED",
    "release_set": "OK REPLAYED RESERVATION_SETTLED",
    "expire_reservations": "OK",
    "catch_up": "OK",
    "check_balance": "OK",
    "deduct": "OK REPLAYED VALIDATION_ERROR INSUFFICIENT_CREDITS DUPLICATE_REQUEST BUSY",
    "issue_grant": "OK REPLAYED VALIDATION_ERROR DUPLICATE_REQUEST BALANCE_LIMIT BUSY",
    "void_grant": "OK REPLAYED VALIDATION_ERROR GRANT_NOT_FOUND DUPLICATE_REQUEST BALANCE_LIMIT",
    "refund": "OK REPLAYED RESERVATION_NOT_FOUND TRANSACTION_NOT_FOUND REFUND_EXCEEDS_SETTLED"
    " DUPLICATE_REQUEST BALANCE_LIMIT",
    "adjust": "OK REPLAYED VALIDATION_ERROR INSUFFICIENT_CREDITS DUPLICATE_REQUEST BALANCE_LIMIT",
    "forgive_overage": "OK REPLAYED VALIDATION_ERROR DUPLICATE_REQUEST BALANCE_LIMIT",
    "set_allowance": "OK REPLAYED VALIDATION_ERROR DUPLICATE_REQUEST",
    "set_limits": "OK REPLAYED VALIDATION_ERROR DUPLICATE_REQUEST",
}
_RULES = (
    "twin in reserve_set",
    "twin in extend_set",
    "twin in settle_set",
    "twin in release_set",
    "late settle",
    "settle above what was reserved",
    "settle into debt",
    "drawn from several grants",
    "drawn from a lapsed grant",
    "lapse",
    "clock behind",
    "month clamped",
    "month not funded",
    "roll-over paid late",
    "refund of two kinds",
    "void into debt",
    "ledger expiration by expire_grant",
    "ledger expiration by lapse",
    "ledger plan_allocation by roll_period",
    "ledger plan_allocation by replenish",
    "ledger plan_allocation by set_allowance",
    "ledger plan_change by set_allowance",
    "ledger rollover by roll_period",
    "ledger rollover by set_allowance",
    "ledger reversal by forgive_overage",
    "ledger admin_adjustment by adjust",
    "ledger void by void_grant",
    "change apply_pending_allowance",
    "change cancel_grant",
    "change roll_period",
    "event credits.granted",
    "event credits.low_balance",
    "event credits.depleted",
)
REQUIRED = frozenset(
    [f"{name} {outcome}" for name, all_of in _OUTCOMES.items() for outcome in all_of.split()]
    + [f"{name} {which}" for name in MANY for which in ("is plain", "is not plain")]
    + [
        f"{name} of several accounts{and_}"
        for name in {*MANY.values()}
        for and_ in ("", ", not all plain")
    ]
    + [*_RULES]
)


@dataclass(frozen=True)
class Before:
    """An account as it was before an operation."""

    version: int
    entries: int
    changes: int
    events: int
    lapsed: int
    withheld: bool

    @classmethod
    def of(cls, account: Account) -> "Before":
        lapsed = sum(g.remaining for g in account.open_grants if g.state == "lapsed")
        return cls(
            account.version,
            len(account.ledger),
            len(account.changes),
            len(account.events),
            lapsed,
            account.rollover_withheld > 0,
        )


def noticed(
    step: Step, expected: Any, account: Account, before: Before, now: datetime
) -> Iterator[str]:
    """Name what an operation showed."""
    yield from _answered(step.name, expected)
    for entry in account.ledger[before.entries :]:
        yield from _written(entry, was_withheld=before.withheld)
    for _, operation, _ in account.changes[before.changes :]:
        yield f"change {operation}"
        if operation == "roll_period":
            if account.period_end.day < account.anchor_day:
                yield "month clamped"
            if not account.is_funded:
                yield "month not funded"
    for event in account.events[before.events :]:
        yield f"event {event.type}"
    if any(g.state == "lapsed" for g in account.open_grants) and not before.lapsed:
        yield "lapse"
    if now < account.clock_at:
        yield "clock behind"


def _answered(name: str, expected: Any) -> Iterator[str]:
    if isinstance(expected, Refused):
        yield f"{name} {expected.code}"
        return
    rows = expected if isinstance(expected, list) else [expected]
    for row in rows:
        yield f"{name} {_outcome(row)}"
        if getattr(row, "late", False):
            yield "late settle"
    good = [id(row.reservation_id) for row in rows if getattr(row, "reservation_id", None)]
    if len(set(good)) < len(good):
        yield f"twin in {name}"
    if name == "refund" and len(expected.grant_ids) > 1:
        yield "refund of two kinds"
    if name == "void_grant" and expected.overage_added:
        yield "void into debt"


def _written(entry: Entry, *, was_withheld: bool) -> Iterator[str]:
    yield f"ledger {entry.type} by {entry.operation}"
    if entry.estimated is not None and -entry.amount > entry.estimated:
        yield "settle above what was reserved"
    if entry.estimated is not None and entry.overage_after:
        yield "settle into debt"
    if entry.type == "consumption" and len(entry.drawn) > 1:
        yield "drawn from several grants"
    if entry.type == "consumption" and any(g.ends < entry.created_at for g, _ in entry.drawn):
        yield "drawn from a lapsed grant"
    if (entry.operation, entry.type) == ("set_allowance", "rollover") and was_withheld:
        yield "roll-over paid late"


def _outcome(row: Any) -> str:
    outcome = getattr(row, "outcome", "OK")
    if outcome == "OK" and getattr(row, "replayed", False):
        return "REPLAYED"
    return str(outcome)
