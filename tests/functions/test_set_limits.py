"""credits.set_limits."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from app.credits import Credits, ReserveRequest
from app.credits.rows import Actor, LimitsSet
from db.driver import Connection
from tests.functions.books import BAD_KEY, NOW, balance, figures, ledger, refused
from tests.functions.grants import changes, stored
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

LARGEST = 1_000_000_000 * CREDIT
BAD_OVERDRAFT = {"field": "overdraftLimit", "reason": "must be from 0 to 10^9 credits"}
BAD_PERCENT = {"field": "lowBalancePercent", "reason": "must be from 10 to 50"}


async def test_limits_are_set_and_the_change_is_kept(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, overdraft=1)
    row = await credits.set_limits(
        account,
        "k",
        overdraft_limit=5 * CREDIT,
        low_balance_percent=50,
        reason="trusted",
        actor=Actor("admin", "a-1", "Admin"),
    )
    assert row == LimitsSet(
        replayed=False,
        version=3,
        version_before=2,
        balance=balance(
            account,
            3,
            available=10 * CREDIT,
            spendable=15 * CREDIT,
            overdraft_limit=5 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    after = await stored(admin, account)
    assert (after["overdraft_limit"], after["low_balance_percent"]) == (5 * CREDIT, 50)
    terms = {
        "periodGrant": 0,
        "rolloverCap": 0,
        "pendingPeriodGrant": None,
        "pendingRolloverCap": None,
        "pendingAt": None,
        "fundedUntil": None,
        "overdraftLimit": 1 * CREDIT,
        "lowBalancePercent": 20,
        "minimumCharge": 250_000,
    }
    [change] = await changes(admin, account, "set_limits")
    kept = dict(change)
    assert kept.pop("fingerprint") is not None
    assert kept == {
        "account_id": account,
        "version": 3,
        "operation": "set_limits",
        "before": terms,
        "after": terms | {"overdraftLimit": 5 * CREDIT, "lowBalancePercent": 50},
        "reason": "trusted",
        "idempotency_key": "k",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW,
    }
    assert await ledger(admin, account, 2) == []


async def test_null_keeps_what_is(credits: Credits, accounts: Accounts, admin: Connection) -> None:
    account = await accounts.open(overdraft=5, low_balance_percent=30)
    await credits.set_limits(account, "a", low_balance_percent=40)
    after = await stored(admin, account)
    assert (after["overdraft_limit"], after["low_balance_percent"]) == (5 * CREDIT, 40)
    await credits.set_limits(account, "b", overdraft_limit=0)
    after = await stored(admin, account)
    assert (after["overdraft_limit"], after["low_balance_percent"]) == (0, 40)


async def test_a_lower_overdraft_limit_takes_no_credits(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=8)
    await credits.deduct(account, 16 * CREDIT, "spent")
    row = await credits.set_limits(account, "k", overdraft_limit=4 * CREDIT)
    assert figures(row.balance) == (0, 0, 6 * CREDIT)
    assert row.balance.spendable == 0
    # Nothing can be reserved until the debt is below the limit again.
    await credits.issue_grant(account, 2 * CREDIT, "top_up", "two")
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("r", 1))
    await credits.issue_grant(account, 1, "top_up", "more")
    held = await credits.reserve(account, ReserveRequest("r", 1))
    assert figures(held.balance) == (0, 1, 4 * CREDIT)


async def test_a_higher_overdraft_limit_can_be_spent_at_once(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open()
    row = await credits.set_limits(account, "k", overdraft_limit=LARGEST)
    assert row.balance.spendable == LARGEST
    held = await credits.reserve(account, ReserveRequest("r", LARGEST))
    assert figures(held.balance) == (0, LARGEST, LARGEST)


@pytest.mark.parametrize(("percent", "spent", "told"), [(50, 50, 51), (10, 90, 91)])
async def test_threshold_holds_from_now_on(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    percent: int,
    spent: int,
    told: int,
) -> None:
    account = await accounts.open(allowance=100)
    await credits.set_limits(account, "k", low_balance_percent=percent)
    await credits.deduct(account, spent * CREDIT, "down to it")
    low = "select payload from events.outbox where type = 'credits.low_balance'"
    assert await admin.fetch(low) == []
    await credits.deduct(account, (told - spent) * CREDIT, "below it")
    [event] = await admin.fetch(low)
    assert event["payload"] == {
        "remaining": (100 - told) * CREDIT,
        "threshold": percent * CREDIT,
    }


async def test_malformed_requests(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"overdraft_limit": -1}, BAD_OVERDRAFT),
        ({"overdraft_limit": LARGEST + 1}, BAD_OVERDRAFT),
        ({"low_balance_percent": 9}, BAD_PERCENT),
        ({"low_balance_percent": 51}, BAD_PERCENT),
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
    ]
    wanted: dict[str, Any] = {"idempotency_key": "k", "overdraft_limit": CREDIT}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.set_limits(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.set_limits(account, "k", overdraft_limit=CREDIT)


async def test_replay_sets_nothing_again(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await credits.set_limits(account, "k", overdraft_limit=5 * CREDIT)
    last = await credits.set_limits(account, "k2", overdraft_limit=7 * CREDIT)
    before = await accounts.snapshot()
    again = await credits.set_limits(account, "k", overdraft_limit=5 * CREDIT, reason="again")
    assert again == replace(first, replayed=True, version_before=last.version, balance=last.balance)
    cases: list[dict[str, Any]] = [
        {"overdraft_limit": 6 * CREDIT},
        {"overdraft_limit": 5 * CREDIT, "low_balance_percent": 20},
        {},
    ]
    for other in cases:
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.set_limits(account, "k", **other)
    assert await accounts.snapshot() == before
