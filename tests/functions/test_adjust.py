"""credits.adjust."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Adjusted
from db.driver import Connection
from tests.functions.books import (
    BAD_AMOUNT,
    BAD_KEY,
    LARGEST,
    NOW,
    balance,
    figures,
    ledger,
    refused,
)
from tests.functions.grants import grant, grants, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)
ADMIN = Actor("admin", "a-1", "Admin")
BAD_REASON = {"field": "reason", "reason": "must have 1 to 1000 characters"}


async def test_credits_put_in_are_a_promotional_grant(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    row = await credits.adjust(
        account,
        10 * CREDIT,
        "k",
        "made good",
        expires_at=NOW + HOUR,
        actor=ADMIN,
        metadata={"ticket": 7},
    )
    assert row == Adjusted(
        amount=10 * CREDIT,
        grant_id=row.grant_id,
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
    assert row.grant_id is not None
    given = await grant(admin, row.grant_id)
    assert given.pop("fingerprint") is not None
    assert {k: v for k, v in given.items() if v is not None} == {
        "account_id": account,
        "id": row.grant_id,
        "operation": "adjust",
        "source": "admin_adjustment",
        "category": "promotional",
        "pool": "bonus",
        "priority": 50,
        "amount": 10 * CREDIT,
        "remaining": 10 * CREDIT,
        "state": "live",
        "effective_at": NOW,
        "expires_at": NOW + HOUR,
        "version": 2,
        "reason": "made good",
        "idempotency_key": "k",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "metadata": {"ticket": 7},
        "created_at": NOW,
        "forfeited": 0,
    }
    [entry] = await ledger(admin, account)
    assert (entry["type"], entry["operation"], entry["amount"]) == (
        *("admin_adjustment", "adjust"),
        10 * CREDIT,
    )
    assert (entry["metadata"], entry["grant_id"]) == ({"ticket": 7}, row.grant_id)


async def test_credits_taken_out_are_drawn_in_order(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    paid = await top_up(credits, account, 10, "paid")
    free = await top_up(credits, account, 3, "free", category="promotional")
    row = await credits.adjust(
        account, -5 * CREDIT, "k", "given twice", actor=ADMIN, metadata={"ticket": 8}
    )
    assert row == Adjusted(
        amount=-5 * CREDIT,
        grant_id=None,
        replayed=False,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
            available=8 * CREDIT,
            spendable=8 * CREDIT,
            granted=8 * CREDIT,
            bonus=8 * CREDIT,
            remaining=8 * CREDIT,
            total=8 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    [entry] = await ledger(admin, account, 3)
    kept = {k: v for k, v in entry.items() if v is not None}
    assert kept.pop("fingerprint") is not None
    assert kept == {
        "account_id": account,
        "version": 4,
        "type": "admin_adjustment",
        "operation": "adjust",
        "amount": -5 * CREDIT,
        "available_after": 8 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "drawn_grant_ids": [free, paid],
        "drawn_amounts": [3 * CREDIT, 2 * CREDIT],
        "idempotency_key": "k",
        "reason": "given twice",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "metadata": {"ticket": 8},
        "created_at": NOW,
    }
    after = await stored(admin, account)
    assert (after["clawed_back_total"], after["spent_total"]) == (5 * CREDIT, 0)


async def test_monthly_credits_are_taken_out_first(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10, allowance=4)
    row = await credits.adjust(account, -6 * CREDIT, "k", "given twice")
    assert (row.balance.monthly, row.balance.bonus) == (0, 8 * CREDIT)


async def test_what_is_put_in_pays_debt_first(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10, overdraft=5)
    await credits.deduct(account, 12 * CREDIT, "spent")
    row = await credits.adjust(account, 5 * CREDIT, "k", "made good")
    assert figures(row.balance) == (3 * CREDIT, 0, 0)
    assert row.balance.granted == 3 * CREDIT


async def test_only_what_is_available_can_be_taken_out(
    credits: Credits, accounts: Accounts
) -> None:
    # Not what reservations hold, and never into the overdraft.
    account = await accounts.open(10, overdraft=100)
    held = await credits.reserve(account, ReserveRequest("r", 4 * CREDIT))
    facts = {"required": 6 * CREDIT + 1, "spendable": 6 * CREDIT, "shortfall": 1}
    async with refused(accounts, "INSUFFICIENT_CREDITS", facts):
        await credits.adjust(account, -6 * CREDIT - 1, "k", "given twice")
    row = await credits.adjust(account, -6 * CREDIT, "k", "given twice")
    assert figures(row.balance) == (0, 4 * CREDIT, 0)
    facts = {"required": 1, "spendable": 0, "shortfall": 1}
    async with refused(accounts, "INSUFFICIENT_CREDITS", facts):
        await credits.adjust(account, -1, "again", "given twice")
    # The reservation finds what it held.
    done = await credits.settle(account, SettleRequest(held.reservation_id, 4 * CREDIT))
    assert figures(done.balance) == (0, 0, 0)


async def test_malformed_requests(credits: Credits, accounts: Accounts, clock: Clock) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    past = {"field": "expiresAt", "reason": "must lie in the future"}
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"amount": 0}, BAD_AMOUNT),
        ({"amount": None}, BAD_AMOUNT),
        ({"amount": LARGEST + 1}, BAD_AMOUNT),
        ({"amount": -LARGEST - 1}, BAD_AMOUNT),
        ({"amount": 2**63 - 1}, BAD_AMOUNT),
        ({"amount": -(2**63)}, BAD_AMOUNT),  # whose opposite is no bigint
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
        ({"reason": ""}, BAD_REASON),
        ({"reason": "r" * 1001}, BAD_REASON),
        ({"reason": None}, BAD_REASON),
        ({"expires_at": NOW}, past),
        ({"expires_at": NOW - HOUR}, past),
    ]
    wanted: dict[str, Any] = {"amount": CREDIT, "idempotency_key": "k", "reason": "made good"}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.adjust(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    for amount in (CREDIT, -CREDIT):
        async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
            await credits.adjust(account, amount, "k", "made good")


async def test_limits(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    for n in range(9):
        row = await credits.adjust(account, LARGEST, f"{n}", "r" * 1000)
    async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST}):
        await credits.adjust(account, 1, "k", "made good")
    row = await credits.adjust(account, -LARGEST, "out", "r")
    assert figures(row.balance) == (8 * LARGEST, 0, 0)
    async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST}):
        await credits.adjust(account, 1, "k", "made good")


async def test_replay_answers_the_first_row(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    put_in = await credits.adjust(account, CREDIT, "in", "one", expires_at=NOW + HOUR)
    taken = await credits.adjust(account, -2 * CREDIT, "out", "one")
    # Long after the grant has ended, and with nothing left to take.
    await clock.set(NOW + 2 * HOUR)
    await credits.catch_up(account)
    last = await credits.deduct(account, 9 * CREDIT, "spent")
    before = await accounts.snapshot()
    again = await credits.adjust(account, CREDIT, "in", "two", expires_at=NOW + HOUR)
    assert again == replace(
        put_in, replayed=True, version_before=last.version, balance=last.balance
    )
    again = await credits.adjust(account, -2 * CREDIT, "out", "two")
    assert again == replace(taken, replayed=True, version_before=last.version, balance=last.balance)
    assert await accounts.snapshot() == before


async def test_same_key_for_another_adjustment(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.adjust(account, CREDIT, "in", "one", expires_at=NOW + HOUR, metadata={"a": 1})
    await credits.adjust(account, -CREDIT, "out", "one")
    for key, arguments in (
        ("in", {"amount": 2 * CREDIT, "expires_at": NOW + HOUR, "metadata": {"a": 1}}),
        ("in", {"amount": -CREDIT, "expires_at": NOW + HOUR, "metadata": {"a": 1}}),
        ("in", {"amount": CREDIT, "expires_at": NOW + 2 * HOUR, "metadata": {"a": 1}}),
        ("in", {"amount": CREDIT, "metadata": {"a": 1}}),
        ("in", {"amount": CREDIT, "expires_at": NOW + HOUR}),
        ("out", {"amount": -2 * CREDIT}),
        ("out", {"amount": CREDIT}),
        ("out", {"amount": -CREDIT, "metadata": {"a": 1}}),
    ):
        wanted: dict[str, Any] = dict(arguments)
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": key}):
            await credits.adjust(account, idempotency_key=key, reason="one", **wanted)
    assert len(await grants(admin, account)) == 2
