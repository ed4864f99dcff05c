"""credits.deduct: reserve and settle in one."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.credits import Actor, Credits, ReserveRequest, SettleRequest
from app.credits.rows import Deducted
from db.driver import Connection
from tests.functions.books import (
    BAD_AMOUNT,
    BAD_KEY,
    BAD_USAGE,
    LARGEST,
    NOW,
    balance,
    figures,
    ledger,
    refused,
    reservation,
    usage,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

SUBJECT: dict[str, Any] = {
    "feature": "chat",
    "quality": "high",
    "model": "gpt-x",
    "price_version": "2026-03",
    "end_customer_ref": "customer-7",
    "related_type": "document",
    "related_id": "d-1",
    "metadata": {"a": 1},
}


async def deduct(credits: Credits, account: UUID, **change: Any) -> Deducted:
    """Deduct 3 credits under the key `k`, for a whole subject, but for what is changed."""
    arguments = {"amount": 3 * CREDIT, "idempotency_key": "k", **SUBJECT, **change}
    return await credits.deduct(account, **arguments)


async def test_deduct_charges_at_once(credits: Credits, accounts: Accounts, clock: Clock) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    row = await deduct(credits, account)
    assert row == Deducted(
        outcome="OK",
        facts=None,
        amount=3 * CREDIT,
        replayed=False,
        version=3,
        version_before=2,
        balance=balance(
            account,
            3,
            available=7 * CREDIT,
            spendable=7 * CREDIT,
            granted=7 * CREDIT,
            bonus=7 * CREDIT,
            used_this_period=3 * CREDIT,
            remaining=7 * CREDIT,
            total=10 * CREDIT,
            usage_basis_points=3_000,
        ),
    )
    assert await accounts.balance(account) == row.balance


async def test_deduct_writes_one_ledger_row_and_one_usage_record(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await deduct(
        credits,
        account,
        related_name="Annual report",
        reason="nightly report",
        actor=Actor("user", "u-1", "A user"),
        # Reservation and amount of the usage say nothing here: the deduction's own count.
        usage=SettleRequest(
            uuid4(),
            99,
            operation="report",
            model="gpt-x-2",
            input_tokens=11,
            output_tokens=5,
            usage_estimated=True,
            cost_nanodollars=7,
            latency_ms=1234,
            status_code=200,
            trace_id="trace-1",
            occurred_at=NOW - timedelta(seconds=9),
            metadata={"b": 2},
        ),
    )
    [grant_id] = [row["id"] for row in await admin.fetch("select id from credits.grants")]
    [entry] = await ledger(admin, account, after=2)
    written = dict(entry)
    assert len(written.pop("fingerprint")) == 32
    assert written == {
        "account_id": account,
        "version": 3,
        "type": "consumption",
        "operation": "deduct",
        "amount": -3 * CREDIT,
        "available_after": 7 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "reservation_id": None,
        "grant_id": None,
        "refund_of": None,
        "estimated": None,
        "drawn_grant_ids": [grant_id],
        "drawn_amounts": [3 * CREDIT],
        "idempotency_key": "k",
        "reason": "nightly report",
        "feature": "chat",
        "quality": "high",
        "model": "gpt-x",
        "price_version": "2026-03",
        "end_customer_ref": "customer-7",
        "related_type": "document",
        "related_id": "d-1",
        "related_name": "Annual report",
        "actor_kind": "user",
        "actor_id": "u-1",
        "actor_label": "A user",
        "metadata": {"a": 1},
        "created_at": NOW,
    }
    [used] = await usage(admin, account)
    record = dict(used)
    assert record.pop("id").version == 7
    assert record == {
        "account_id": account,
        "reservation_id": None,
        "version": 3,
        "kind": "llm",
        "operation": "report",
        "feature": "chat",
        "quality": "high",
        "model": "gpt-x-2",
        "price_version": "2026-03",
        "input_tokens": 11,
        "output_tokens": 5,
        "usage_estimated": True,
        "cost_nanodollars": 7,
        "credits": 3 * CREDIT,
        "status_code": 200,
        "latency_ms": 1234,
        "trace_id": "trace-1",
        "end_customer_ref": "customer-7",
        "metadata": {"b": 2},
        "occurred_at": NOW - timedelta(seconds=9),
        "recorded_at": NOW,
    }
    assert await versions(admin, account) == [1, 2, 3]


async def test_a_deduction_without_usage_is_recorded_all_the_same(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.deduct(account, CREDIT, "k", model="gpt-x")
    [used] = await usage(admin, account)
    assert (used["version"], used["credits"], used["model"]) == (3, CREDIT, "gpt-x")
    assert (used["input_tokens"], used["usage_estimated"]) == (None, False)
    assert (used["occurred_at"], used["recorded_at"]) == (NOW, NOW)


# Replay.


async def test_a_replay_answers_the_first_and_changes_nothing(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await deduct(credits, account)
    await credits.reserve(account, ReserveRequest("r", 7 * CREDIT))
    before = await accounts.snapshot()
    again = await deduct(credits, account)
    assert again == replace(
        first, replayed=True, version_before=4, balance=await accounts.balance(account)
    )
    assert figures(again.balance) == (0, 7 * CREDIT, 0)
    # Who asks, why, and what was used do not make another request.
    other = await deduct(
        credits,
        account,
        related_name="Report",
        reason="again",
        actor=Actor("user", "u-2", "Another"),
        usage=SettleRequest(None, None, input_tokens=1),
    )
    assert other == again
    assert await accounts.snapshot() == before


async def test_the_same_key_with_another_request_is_refused(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    await deduct(credits, account)
    changes: list[dict[str, Any]] = [
        {"amount": 3 * CREDIT + 1},
        {"feature": "search"},
        {"quality": None},
        {"model": "gpt-y"},
        {"price_version": "2026-04"},
        {"end_customer_ref": "customer-8"},
        {"related_type": "file"},
        {"related_id": "d-2"},
        {"metadata": {"a": "1"}},
        {"feature": "chat,high", "quality": None},
        {"feature": "cha", "quality": "thigh"},
        {"related_type": "d-1", "related_id": "document"},
    ]
    for change in changes:
        with subtests.test(**change):
            async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
                await deduct(credits, account, **change)


async def test_a_key_belongs_to_its_account(credits: Credits, accounts: Accounts) -> None:
    one, other = await accounts.open(10), await accounts.open(10)
    first = await credits.deduct(one, CREDIT, "k")
    second = await credits.deduct(other, 2 * CREDIT, "k")
    assert (first.replayed, second.replayed) == (False, False)
    assert figures(await accounts.balance(one)) == (9 * CREDIT, 0, 0)
    assert figures(await accounts.balance(other)) == (8 * CREDIT, 0, 0)


async def test_a_refusal_is_not_recorded_under_its_key(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(1)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 3 * CREDIT, "spendable": CREDIT, "shortfall": 2 * CREDIT},
    ):
        await deduct(credits, account)
    await credits.issue_grant(account, 4 * CREDIT, "top_up", "t")
    row = await deduct(credits, account)
    assert (row.replayed, figures(row.balance)) == (False, (2 * CREDIT, 0, 0))


# Limits.


async def test_deduct_refuses_what_is_out_of_range(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    for amount in (0, -1, LARGEST + 1, 2**63 - 1, None):
        with subtests.test(amount=amount):
            async with refused(accounts, "VALIDATION_ERROR", BAD_AMOUNT):
                await deduct(credits, account, amount=amount)
    for key in ("", "k" * 256, None):
        with subtests.test(key=key):
            async with refused(accounts, "VALIDATION_ERROR", BAD_KEY):
                await deduct(credits, account, idempotency_key=key)
    for field in ("input_tokens", "output_tokens", "cost_nanodollars", "latency_ms"):
        with subtests.test(field=field):
            negative: dict[str, Any] = {field: -1}
            usage_asked = SettleRequest(None, None)._replace(**negative)
            async with refused(accounts, "VALIDATION_ERROR", BAD_USAGE):
                await deduct(credits, account, usage=usage_asked)


async def test_deduct_takes_keys_of_255_characters_and_all_that_is_available(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 10 * CREDIT + 1, "spendable": 10 * CREDIT, "shortfall": 1},
    ):
        await deduct(credits, account, amount=10 * CREDIT + 1)
    row = await deduct(credits, account, amount=10 * CREDIT, idempotency_key="é" * 255)
    assert figures(row.balance) == (0, 0, 0)


async def test_deduct_from_an_unknown_account_is_refused(
    credits: Credits, accounts: Accounts
) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await deduct(credits, account)


# Shortfall.


async def test_deduct_into_the_overdraft_draws_what_there_is_and_owes_the_rest(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(4, overdraft=5)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 9 * CREDIT + 1, "spendable": 9 * CREDIT, "shortfall": 1},
    ):
        await deduct(credits, account, amount=9 * CREDIT + 1)
    row = await deduct(credits, account, amount=9 * CREDIT)
    assert figures(row.balance) == (0, 0, 5 * CREDIT)
    assert (row.balance.spendable, row.balance.granted) == (0, 0)
    [entry] = await ledger(admin, account, after=2)
    # Four from the grant; five of it nothing paid for.
    assert (entry["amount"], entry["drawn_amounts"]) == (-9 * CREDIT, [4 * CREDIT])
    assert (entry["available_after"], entry["overage_after"]) == (0, 5 * CREDIT)
    # A grant pays that debt as it comes.
    paid = await credits.issue_grant(account, 7 * CREDIT, "top_up", "t")
    assert (figures(paid.balance), paid.grant_remaining) == ((2 * CREDIT, 0, 0), 2 * CREDIT)


async def test_deduct_into_the_overdraft_beside_a_reservation_leaves_it_whole(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, overdraft=5)
    held = await credits.reserve(account, ReserveRequest("r", 6 * CREDIT))
    row = await deduct(credits, account, amount=8 * CREDIT)
    assert figures(row.balance) == (0, 6 * CREDIT, 4 * CREDIT)
    settled = await credits.settle(account, SettleRequest(held.reservation_id, 6 * CREDIT))
    assert figures(settled.balance) == (0, 0, 4 * CREDIT)
    # Who comes first draws; what is missing in the end is the debt.
    assert [e["drawn_amounts"] for e in await ledger(admin, account, after=2)] == [
        [8 * CREDIT],
        [2 * CREDIT],
    ]


async def test_deduct_that_falls_short_first_expires_what_is_overdue(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = await credits.reserve(account, ReserveRequest("late", 9 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    row = await deduct(credits, account)
    assert (row.version_before, row.version) == (3, 5)
    assert figures(row.balance) == (7 * CREDIT, 0, 0)
    assert (await reservation(admin, late.reservation_id))["status"] == "expired"
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_an_unlimited_account_is_never_refused_not_even_beyond_its_block(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=-1)
    row = await deduct(credits, account, amount=LARGEST)
    assert (row.version_before, row.version) == (2, 4)
    assert figures(row.balance) == (10**15, 0, 0)
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_an_unlimited_account_expires_what_is_overdue_before_it_is_granted_more(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    block = (await accounts.balance(account)).available
    await credits.reserve(account, ReserveRequest("late", block, 60))
    await clock.advance(timedelta(seconds=60))
    row = await deduct(credits, account, amount=CREDIT)
    assert figures(row.balance) == (block - CREDIT, 0, 0)
    assert [entry["type"] for entry in await ledger(admin, account, after=3)] == ["consumption"]
