"""credits.issue_grant."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from app.credits import Credits, ReserveRequest
from app.credits.rows import Actor, Granted
from db.driver import Connection
from tests.functions.books import (
    NOW,
    balance,
    figures,
    ledger,
    refused,
)
from tests.functions.grants import grant, grants, moves, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

INSTANT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


async def test_grant_is_available_at_once(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    row = await credits.issue_grant(
        account,
        10 * CREDIT,
        "top_up",
        "k",
        priority=40,
        expires_at=NOW + HOUR,
        source_ref="payment-1",
        reason="bought",
        actor=Actor("key", "k-1", "Back-end"),
        metadata={"order": 7},
    )
    assert row == Granted(
        grant_id=row.grant_id,
        state="live",
        amount=10 * CREDIT,
        grant_remaining=10 * CREDIT,
        effective_at=NOW,
        expires_at=NOW + HOUR,
        replayed=False,
        version=2,
        version_before=1,
        balance=balance(
            account,
            2,
            available=10 * CREDIT,
            spendable=10 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    given = await grant(admin, row.grant_id)
    assert given.pop("fingerprint") is not None
    assert given == {
        "account_id": account,
        "id": row.grant_id,
        "operation": "issue_grant",
        "source": "top_up",
        "category": "paid",
        "pool": "bonus",
        "priority": 40,
        "amount": 10 * CREDIT,
        "remaining": 10 * CREDIT,
        "state": "live",
        "effective_at": NOW,
        "expires_at": NOW + HOUR,
        "version": 2,
        "refund_of": None,
        "source_ref": "payment-1",
        "reason": "bought",
        "idempotency_key": "k",
        "actor_kind": "key",
        "actor_id": "k-1",
        "actor_label": "Back-end",
        "metadata": {"order": 7},
        "created_at": NOW,
        "forfeited": 0,
    }
    [entry] = await ledger(admin, account)
    assert {k: v for k, v in entry.items() if v is not None} == {
        "account_id": account,
        "version": 2,
        "type": "top_up",
        "operation": "issue_grant",
        "amount": 10 * CREDIT,
        "available_after": 10 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "grant_id": row.grant_id,
        "reason": "bought",
        "actor_kind": "key",
        "actor_id": "k-1",
        "actor_label": "Back-end",
        "metadata": {"order": 7},
        "created_at": NOW,
    }
    assert (await stored(admin, account))["next_due_at"] == NOW + HOUR
    [event] = await admin.fetch("select * from events.outbox")
    assert tuple(event) == (
        account,
        2,
        "credits.granted",
        {"grantId": str(row.grant_id), "amount": 10 * CREDIT, "source": "top_up"},
        NOW,
        None,
    )


async def test_what_a_source_makes_of_a_grant(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    for source, given, category in (
        ("top_up", None, "paid"),
        ("promotional", None, "promotional"),
        ("referral", None, "promotional"),
        ("admin_adjustment", None, "promotional"),
        ("top_up", "promotional", "promotional"),
        ("referral", "paid", "paid"),
    ):
        row = await credits.issue_grant(
            account, CREDIT, source, f"{source}-{given}", category=given
        )
        kept = await grant(admin, row.grant_id)
        assert (kept["source"], kept["category"], kept["pool"], kept["priority"]) == (
            *(source, category),
            *("bonus", 50),
        )
    assert [entry["type"] for entry in await ledger(admin, account)] == [
        *("top_up", "promotional", "referral", "admin_adjustment", "top_up", "referral")
    ]


async def test_grant_of_the_future_counts_nowhere(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(1, overdraft=5)
    # In debt, and a grant to come does not pay it.
    before = (await credits.deduct(account, 3 * CREDIT, "spent")).balance
    row = await credits.issue_grant(
        account, 10 * CREDIT, "top_up", "k", effective_at=NOW + HOUR, expires_at=NOW + 3 * HOUR
    )
    assert row == Granted(
        grant_id=row.grant_id,
        state="scheduled",
        amount=10 * CREDIT,
        grant_remaining=10 * CREDIT,
        effective_at=NOW + HOUR,
        expires_at=NOW + 3 * HOUR,
        replayed=False,
        version=None,
        version_before=before.balance_version,
        balance=before,
    )
    await clock.set(NOW + HOUR - INSTANT)
    assert (await credits.check_balance(account)).balance == before
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 3 * CREDIT + 1, "spendable": 3 * CREDIT, "shortfall": 1},
    ):
        await credits.reserve(account, ReserveRequest("early", 3 * CREDIT + 1))

    await clock.set(NOW + HOUR)
    now = (await credits.check_balance(account)).balance
    assert figures(now) == (8 * CREDIT, 0, 0)
    assert now.granted == 8 * CREDIT
    assert await moves(admin, account, before.balance_version) == [
        ("top_up", 10 * CREDIT, NOW + HOUR)
    ]


async def test_what_is_spent_late_on_waits_for_nothing_but_its_time(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # Nobody looks for three hours: it begins and ends at its own times all the same.
    await clock.set(NOW)
    account = await accounts.open()
    await credits.issue_grant(
        account, 10 * CREDIT, "top_up", "k", effective_at=NOW + HOUR, expires_at=NOW + 2 * HOUR
    )
    await clock.set(NOW + 3 * HOUR)
    after = await credits.catch_up(account)
    assert figures(after.balance) == (0, 0, 0)
    assert await moves(admin, account) == [
        ("top_up", 10 * CREDIT, NOW + HOUR),
        ("expiration", -10 * CREDIT, NOW + 2 * HOUR),
    ]
    assert await grants(admin, account) == [("top_up", "closed", 10 * CREDIT, 0)]


async def test_grant_of_the_past_begins_now(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    row = await credits.issue_grant(
        account, CREDIT, "top_up", "k", effective_at=NOW - HOUR, expires_at=NOW + INSTANT
    )
    assert (row.state, row.effective_at) == ("live", NOW)


async def test_grant_expires_at_its_time_and_no_sooner(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5)
    given = await top_up(credits, account, 10, "k", expires_at=NOW + HOUR)
    spent = await credits.deduct(account, 4 * CREDIT, "spent")
    await clock.set(NOW + HOUR - INSTANT)
    assert (await credits.check_balance(account)).balance == spent.balance

    await clock.set(NOW + HOUR)
    now = (await credits.check_balance(account)).balance
    assert now == replace(
        spent.balance,
        balance_version=spent.version + 1,
        available=5 * CREDIT,
        spendable=5 * CREDIT,
        granted=5 * CREDIT,
        bonus=5 * CREDIT,
        remaining=5 * CREDIT,
        total=9 * CREDIT,
        usage_basis_points=4444,
    )
    [entry] = await ledger(admin, account, spent.version)
    assert (entry["type"], entry["operation"], entry["amount"]) == (
        *("expiration", "expire_grant"),
        -6 * CREDIT,
    )
    assert (entry["grant_id"], entry["drawn_grant_ids"], entry["drawn_amounts"]) == (
        *(given, [given]),
        [6 * CREDIT],
    )
    row = await stored(admin, account)
    assert (row["expired_total"], row["next_due_at"]) == (6 * CREDIT, row["period_end"])


async def test_draw_down_order_whatever_the_order_of_arrival(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    # Priority, earliest expiry with none last, promotional before paid; then age.
    await clock.set(NOW)
    line: list[dict[str, Any]] = [
        {"priority": 10, "category": "paid"},
        {"category": "promotional", "expires_at": NOW + HOUR},
        {"category": "paid", "expires_at": NOW + HOUR},
        {"category": "paid", "expires_at": NOW + 2 * HOUR},
        {"category": "promotional"},
        {"category": "paid"},
    ]
    project = await accounts.project()
    for order in list(permutations(range(len(line))))[::97]:
        account = await accounts.open(project_id=project)
        made = {
            n: await credits.issue_grant(account, CREDIT, "top_up", f"{n}", **line[n])
            for n in order
        }
        spent = await credits.deduct(account, len(line) * CREDIT, "all")
        [entry] = await ledger(admin, account, spent.version_before)
        assert entry["drawn_grant_ids"] == [made[n].grant_id for n in range(len(line))]


async def test_among_equals_the_older_goes_first(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    older = await top_up(credits, account, 1, "older")
    await clock.advance(INSTANT)
    newer = await top_up(credits, account, 1, "newer")
    spent = await credits.deduct(account, 2 * CREDIT, "all")
    [entry] = await ledger(admin, account, spent.version_before)
    assert entry["drawn_grant_ids"] == [older, newer]


@pytest.mark.parametrize(
    ("amount", "left", "state", "available", "overage"),
    [(1, 0, "closed", 0, 1), (2, 0, "closed", 0, 0), (5, 3, "live", 3, 0)],
)
async def test_grant_pays_for_work_that_was_done_without_one(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    amount: int,
    left: int,
    state: str,
    available: int,
    overage: int,
) -> None:
    account = await accounts.open(10, overdraft=5)
    before = await credits.deduct(account, 12 * CREDIT, "spent")
    assert figures(before.balance) == (0, 0, 2 * CREDIT)
    row = await credits.issue_grant(account, amount * CREDIT, "top_up", "k")
    assert (row.state, row.grant_remaining) == (state, left * CREDIT)
    assert figures(row.balance) == (available * CREDIT, 0, overage * CREDIT)
    assert row.balance.granted == left * CREDIT
    [entry] = await ledger(admin, account, before.version)
    assert entry["drawn_grant_ids"] == [row.grant_id]
    assert entry["drawn_amounts"] == [(amount - left) * CREDIT]


async def test_what_reservations_hold_beyond_the_grants_stays_in_the_grant(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, overdraft=5)
    held = await credits.reserve(account, ReserveRequest("r", 12 * CREDIT))
    row = await credits.issue_grant(account, 5 * CREDIT, "top_up", "k")
    # Paid the overage, but nothing was used yet: all of it remains.
    assert (row.state, row.grant_remaining) == ("live", 5 * CREDIT)
    assert figures(row.balance) == (3 * CREDIT, 12 * CREDIT, 0)
    assert row.balance.granted == 15 * CREDIT
    [entry] = await ledger(admin, account, held.version)
    assert (entry["drawn_grant_ids"], entry["drawn_amounts"]) == (None, None)


async def test_debt_partly_done_and_partly_held(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, overdraft=9)
    await credits.deduct(account, 12 * CREDIT, "spent")
    held = await credits.reserve(account, ReserveRequest("r", 4 * CREDIT))
    assert figures(held.balance) == (0, 4 * CREDIT, 6 * CREDIT)
    row = await credits.issue_grant(account, 5 * CREDIT, "top_up", "k")
    assert (row.state, row.grant_remaining) == ("live", 3 * CREDIT)
    assert figures(row.balance) == (0, 4 * CREDIT, CREDIT)
    [entry] = await ledger(admin, account, held.version)
    assert entry["drawn_amounts"] == [2 * CREDIT]
