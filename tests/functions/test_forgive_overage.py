"""credits.forgive_overage."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Forgiven
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
from tests.functions.grants import grants, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

BAD_REASON = {"field": "reason", "reason": "must have 1 to 1000 characters"}


def owed(amount: int) -> dict[str, str]:
    return {
        "field": "amount",
        "reason": f"must be at most the {amount} micro-credits that are owed",
    }


async def in_debt(credits: Credits, accounts: Accounts, debt: int) -> UUID:
    """Return an account of 10 credits that were spent, and `debt` more."""
    account = await accounts.open(overdraft=20)
    await top_up(credits, account, 10, "g")
    await credits.deduct(account, (10 + debt) * CREDIT, "spent")
    return account


async def test_debt_is_paid_by_a_grant_that_is_used_up(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await in_debt(credits, accounts, 6)
    row = await credits.forgive_overage(
        account, "k", "our mistake", amount=4 * CREDIT, actor=Actor("admin", "a-1", "Admin")
    )
    assert row == Forgiven(
        amount=4 * CREDIT,
        replayed=False,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
            spendable=18 * CREDIT,
            overage=2 * CREDIT,
            overdraft_limit=20 * CREDIT,
            used_this_period=16 * CREDIT,
            total=16 * CREDIT,
            usage_basis_points=10_000,
        ),
    )
    assert await accounts.balance(account) == row.balance
    [given] = await admin.fetch("select * from credits.grants where source = 'reversal'")
    [entry] = await ledger(admin, account, 3)
    assert (given["operation"], given["category"], given["state"], given["remaining"]) == (
        *("forgive_overage", "promotional", "closed"),
        0,
    )
    assert {k: v for k, v in entry.items() if v is not None} == {
        "account_id": account,
        "version": 4,
        "type": "reversal",
        "operation": "forgive_overage",
        "amount": 4 * CREDIT,
        "available_after": 0,
        "reserved_after": 0,
        "overage_after": 2 * CREDIT,
        "grant_id": given["id"],
        "drawn_grant_ids": [given["id"]],
        "drawn_amounts": [4 * CREDIT],
        "reason": "our mistake",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW,
    }


async def test_all_that_is_owed_unless_told_otherwise(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await in_debt(credits, accounts, 6)
    row = await credits.forgive_overage(account, "k", "our mistake")
    assert row.amount == 6 * CREDIT
    assert figures(row.balance) == (0, 0, 0)
    assert await grants(admin, account) == [
        ("top_up", "closed", 10 * CREDIT, 0),
        ("reversal", "closed", 6 * CREDIT, 0),
    ]


async def test_what_reservations_hold_is_not_owed_yet(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10, overdraft=20)
    held = await credits.reserve(account, ReserveRequest("r", 15 * CREDIT))
    assert figures(held.balance) == (0, 15 * CREDIT, 5 * CREDIT)
    for amount in (None, 1):
        async with refused(accounts, "VALIDATION_ERROR", owed(0)):
            await credits.forgive_overage(account, "k", "our mistake", amount=amount)

    # Settled above the grants, five credits are truly owed.
    await credits.settle(account, SettleRequest(held.reservation_id, 15 * CREDIT))
    async with refused(accounts, "VALIDATION_ERROR", owed(5 * CREDIT)):
        await credits.forgive_overage(account, "k", "our mistake", amount=5 * CREDIT + 1)
    # And no more of it while another reservation holds on credit.
    await credits.reserve(account, ReserveRequest("r2", 3 * CREDIT))
    row = await credits.forgive_overage(account, "k", "our mistake")
    assert row.amount == 5 * CREDIT
    assert figures(row.balance) == (0, 3 * CREDIT, 3 * CREDIT)


async def test_debt_beside_a_lapsed_grant(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    # The lapsed grant is kept for the reservation; the deduction had none to draw on.
    await clock.set(NOW)
    account = await accounts.open(overdraft=20)
    await top_up(credits, account, 10, "g", expires_at=NOW + timedelta(hours=1))
    held = await credits.reserve(account, ReserveRequest("r", 10 * CREDIT, 86400))
    await clock.set(NOW + timedelta(hours=1))
    spent = await credits.deduct(account, 3 * CREDIT, "spent")
    assert figures(spent.balance) == (0, 10 * CREDIT, 3 * CREDIT)
    row = await credits.forgive_overage(account, "k", "our mistake")
    assert row.amount == 3 * CREDIT
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    done = await credits.settle(account, SettleRequest(held.reservation_id, 8 * CREDIT))
    assert figures(done.balance) == (0, 0, 0)
    assert done.balance is not None
    assert done.balance.granted == 0


async def test_nothing_owed_is_nothing_to_forgive(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    for amount in (None, 1):
        async with refused(accounts, "VALIDATION_ERROR", owed(0)):
            await credits.forgive_overage(account, "k", "our mistake", amount=amount)


async def test_malformed_requests(credits: Credits, accounts: Accounts) -> None:
    account = await in_debt(credits, accounts, 6)
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"amount": 0}, BAD_AMOUNT),
        ({"amount": -1}, BAD_AMOUNT),
        ({"amount": LARGEST + 1}, BAD_AMOUNT),
        ({"amount": 6 * CREDIT + 1}, owed(6 * CREDIT)),
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
        ({"reason": ""}, BAD_REASON),
        ({"reason": "r" * 1001}, BAD_REASON),
        ({"reason": None}, BAD_REASON),
    ]
    wanted: dict[str, Any] = {"idempotency_key": "k", "reason": "our mistake"}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.forgive_overage(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.forgive_overage(account, "k", "our mistake")


async def test_replay_answers_what_was_forgiven_the_first_time(
    credits: Credits, accounts: Accounts
) -> None:
    account = await in_debt(credits, accounts, 6)
    first = await credits.forgive_overage(account, "k", "our mistake")
    last = await credits.deduct(account, 2 * CREDIT, "more")
    before = await accounts.snapshot()
    again = await credits.forgive_overage(account, "k", "told again")
    assert again == replace(first, replayed=True, version_before=last.version, balance=last.balance)
    assert await accounts.snapshot() == before
    for amount in (2 * CREDIT, 6 * CREDIT):
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.forgive_overage(account, "k", "our mistake", amount=amount)
