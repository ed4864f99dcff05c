"""The terms of an account: opening, allowance, limits."""

from datetime import datetime
from typing import Any
from uuid import UUID

from app.credits.rows import AllowanceSet, LimitsSet
from tests.proof.model.account import Account
from tests.proof.model.call import Call, check, one
from tests.proof.model.due import next_boundary
from tests.proof.model.shapes import BLOCK, CREDIT, LIFETIME, Grant, Policy, Refused

LARGEST = 1_000_000_000 * CREDIT
BAD_ALLOWANCE = {"field": "allowance", "reason": "must be -1 (unlimited) or from 0 to 10^9 credits"}
BAD_CAP = {"field": "rolloverCap", "reason": "must be from 0 to 10^9 credits"}
BAD_OVERDRAFT = {"field": "overdraftLimit", "reason": "must be from 0 to 10^9 credits"}
BAD_PERCENT = {"field": "lowBalancePercent", "reason": "must be from 10 to 50"}


def opened(
    account_id: UUID, now: datetime, policy: Policy, *, welcome: int = 0, **terms: Any
) -> Account:
    """Open an account by its project's policy."""
    account = Account(account_id, policy, now, next_boundary(now, now.day), now.day, now, **terms)
    account.note("open_account", now)
    month = BLOCK if account.is_unlimited else account.period_grant
    if month:
        account.give_month("plan_allocation", "open_account", month, now)
    if welcome:
        account.give("open_account", "promotional", "promotional", 50, welcome, now, None)
    account.due_at = account.next_due()
    account.note_level(now)
    return account


def set_limits(
    account: Account,
    clock: datetime,
    key: str,
    *,
    overdraft_limit: int | None = None,
    low_balance_percent: int | None = None,
) -> LimitsSet:
    check(key=key)
    if overdraft_limit is not None and not 0 <= overdraft_limit <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_OVERDRAFT)
    if low_balance_percent is not None and not 10 <= low_balance_percent <= 50:
        raise Refused("VALIDATION_ERROR", BAD_PERCENT)

    def act(call: Call) -> tuple[int]:
        if overdraft_limit is not None:
            account.overdraft_limit = overdraft_limit
        if low_balance_percent is not None:
            account.low_balance_percent = low_balance_percent
        return (account.note("set_limits", call.now),)

    asked = (overdraft_limit, low_balance_percent)
    call, replayed, (version,) = one(account, clock, "set_limits", key, asked, act)
    return LimitsSet(replayed, version, call.version_before, account.balance())


def set_allowance(
    account: Account,
    clock: datetime,
    period_grant: int,
    key: str,
    *,
    takes_effect: str = "now",
    rollover_cap: int | None = None,
    funded_until: datetime | None = None,
) -> AllowanceSet:
    check(key=key)
    if not -1 <= period_grant <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_ALLOWANCE)
    if rollover_cap is not None and not 0 <= rollover_cap <= LARGEST:
        raise Refused("VALIDATION_ERROR", BAD_CAP)

    def act(call: Call) -> tuple[datetime, int]:
        was_funded = account.is_funded
        cap = account.rollover_cap if rollover_cap is None else rollover_cap
        if funded_until is not None:
            account.funded_until = funded_until
        if takes_effect == "now":
            account.pending = None
            account.period_grant, account.rollover_cap = period_grant, cap
            at = call.now
        else:
            account.pending = (period_grant, cap)
            at = account.period_end
        if takes_effect == "now" or not was_funded:
            allow(call)
        account.due_at = account.next_due()
        return at, account.note("set_allowance", call.now)

    asked = (period_grant, takes_effect, rollover_cap, funded_until)
    call, replayed, (at, version) = one(
        account, clock, "set_allowance", key, asked, act, sweeps=True
    )
    return AllowanceSet(at, replayed, version, call.version_before, account.balance())


def allow(call: Call) -> None:
    """Give what the month falls short of its allowance, or take what is left beyond it."""
    account = call.account
    if not account.is_funded:
        return
    target = BLOCK if account.is_unlimited else account.period_grant
    over = 0 if account.is_unlimited else min(account.rollover_withheld, account.room)
    account.rollover_withheld = 0
    if over:
        _give(call, "rollover", over)
    month = _month(account)
    given = sum(g.amount - g.reduced for g in month)
    if target > given:
        _give(call, "plan_change" if given else "plan_allocation", target - given)
    else:
        left = sum(g.remaining for g in month)
        beyond = left - max(0, target - (given - left))
        for grant in reversed(month):
            part = min(beyond, grant.remaining - account.kept(grant)) if grant.remaining else 0
            if part > 0:
                account.take(grant, part, "plan_change", "set_allowance", call.now)
                grant.reduced += part
                beyond -= part


def _give(call: Call, source: str, amount: int) -> None:
    if amount > call.account.room:
        raise Refused("BALANCE_LIMIT", {"limit": LIFETIME})
    call.account.give_month(source, "set_allowance", amount, call.now)


def _month(account: Account) -> list[Grant]:
    """Return what this period's allowance gave, oldest first; a roll-over is not of it."""
    return [
        g
        for g in account.grants
        if g.source in {"plan_allocation", "plan_change"} and g.ends == account.period_end
    ]
