"""What falls due on an account, in order of time, each boundary with its own time."""

from calendar import monthrange
from datetime import datetime

from tests.proof.model.account import Account
from tests.proof.model.shapes import BLOCK, MONTHLY

STEPS = 120


def next_boundary(start: datetime, anchor_day: int) -> datetime:
    """Return when the period ends that begins at `start`."""
    year, month = start.year + start.month // 12, start.month % 12 + 1
    day = min(anchor_day, monthrange(year, month)[1])
    return start.replace(year=year, month=month, day=day)


def catch_up(account: Account, now: datetime) -> bool:
    """Work what is due; return whether something still is."""
    for step in range(STEPS + 1):
        if account.due_at > now or step == STEPS:
            if step:
                account.expire_overdue(min(now, account.due_at))
            break
        at = account.due_at
        work(account, at)
        account.due_at = account.next_due()
    return account.due_at <= now


def work(account: Account, at: datetime) -> None:
    """Work one boundary."""
    account.expire_overdue(at)
    begins = [g for g in account.open_grants if g.state == "scheduled" and g.effective_at <= at]
    for grant in sorted(begins, key=lambda g: g.place):
        account.activate(grant, at)
    unused = expire_grants(account, at)
    if account.period_end <= at:
        roll(account, at, unused)
    account.note_level(at)


def expire_grants(account: Account, at: datetime) -> int:
    """Grants end, but for what reservations opened before hold; return what the month lost."""
    held = sum(r.held_before(at) for r in account.held if r.opened_at < at)
    before = sum(g.remaining for g in account.lapsed())
    unused = 0
    for grant in account.line():
        left = grant.remaining
        if grant.ends <= at:
            kept = min(left, max(0, held - before))
            if kept:
                grant.state = "lapsed"
            if left > kept:
                account.take(grant, left - kept, "expiration", "expire_grant", at)
                unused += left - kept if grant.source in MONTHLY else 0
        before += left
    return unused


def roll(account: Account, at: datetime, unused: int) -> None:
    """The period ends; the next one begins, by the terms that wait for it."""
    was_unlimited = account.is_unlimited
    if account.pending is not None:
        account.period_grant, account.rollover_cap = account.pending
        account.pending = None
        account.note("apply_pending_allowance", at)
    account.period_start = at
    account.period_end = next_boundary(at, account.anchor_day)
    account.spent_at_period_start = account.spent_total
    account.note("roll_period", at)
    over = 0 if was_unlimited or account.is_unlimited else min(unused, account.rollover_cap)
    account.rollover_withheld = 0
    if not account.is_funded:
        account.rollover_withheld = over
        return
    over = min(over, account.room)
    if over:
        account.give_month("rollover", "roll_period", over, at)
    month = min(BLOCK if account.is_unlimited else account.period_grant, account.room)
    if month:
        account.give_month("plan_allocation", "roll_period", month, at)
