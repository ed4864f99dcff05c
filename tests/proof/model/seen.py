"""Which rules a run has met: what it never met, it has not proven."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.proof.model.account import Account, Refused
from tests.proof.model.steps import Step


@dataclass(frozen=True)
class Before:
    """An account as it was before an operation."""

    version: int
    entries: int
    changes: int
    events: int
    lapsed: int
    late: bool

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
    name = step.name
    if isinstance(expected, Refused):
        yield f"{name} {expected.code}"
    elif isinstance(expected, list):
        for row in expected:
            yield f"{name} {_outcome(row)}"
            if getattr(row, "late", False):
                yield "late settle"
        if len({id(row.reservation_id) for row in expected if row.outcome == "OK"}) < sum(
            row.outcome == "OK" for row in expected
        ):
            yield f"twin in {name}"
    else:
        yield f"{name} {_outcome(expected)}"
        if getattr(expected, "late", False):
            yield "late settle"
    for entry in account.ledger[before.entries :]:
        yield f"ledger {entry.type} by {entry.operation}"
        if entry.reservation is not None and entry.estimated is not None:
            if -entry.amount > entry.estimated:
                yield "settle above what was reserved"
            if entry.overage_after:
                yield "settle into debt"
        if entry.type == "consumption" and len(entry.drawn) > 1:
            yield "drawn from several grants"
        if entry.type == "consumption" and any(g.ends < entry.created_at for g, _ in entry.drawn):
            yield "drawn from a lapsed grant"
        if entry.operation == "set_allowance" and entry.type == "rollover" and before.late:
            yield "roll-over paid late"
    for _, operation, _ in account.changes[before.changes :]:
        yield f"change {operation}"
        if operation == "roll_period" and account.period_end.day < account.anchor_day:
            yield "month clamped"
        if operation == "roll_period" and not account.is_funded:
            yield "month not funded"
    for event in account.events[before.events :]:
        yield f"event {event.type}"
    if any(g.state == "lapsed" for g in account.open_grants) and not before.lapsed:
        yield "lapse"
    if now < account.clock_at:
        yield "clock behind"
    if name == "refund" and not isinstance(expected, Refused) and len(expected.grant_ids) > 1:
        yield "refund of two kinds"
    if name == "void_grant" and not isinstance(expected, Refused) and expected.overage_added:
        yield "void into debt"


def _outcome(row: Any) -> str:
    outcome = getattr(row, "outcome", "OK")
    if outcome == "OK" and getattr(row, "replayed", False):
        return "REPLAYED"
    return str(outcome)
