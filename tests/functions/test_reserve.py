"""credits.reserve: what it sets aside, what it refuses, how it replays."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.credits import Actor, Credits, ReserveRequest
from app.credits.rows import Reserved
from db.driver import Connection
from tests.functions.books import (
    BAD_AMOUNT,
    BAD_KEY,
    LARGEST,
    NOW,
    balance,
    figures,
    refused,
    reservation,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

WHOLE = ReserveRequest(
    idempotency_key="k",
    amount=4 * CREDIT,
    ttl_seconds=60,
    feature="chat",
    quality="high",
    model="gpt-x",
    price_version="2026-03",
    end_customer_ref="customer-7",
    related_type="document",
    related_id="d-1",
    related_name="Annual report",
    actor=Actor("user", "u-1", "A user"),
    metadata={"a": [1, None]},
)
BAD_TTL = {"field": "ttlSeconds", "reason": "must be from 1 to 86400"}


async def test_reserve_moves_available_to_reserved(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    row = await credits.reserve(account, WHOLE)
    # Versions 1 and 2 opened the account and granted its credits.
    assert row == Reserved(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=False,
        reservation_id=row.reservation_id,
        status="pending",
        amount=4 * CREDIT,
        expires_at=NOW + timedelta(seconds=60),
        version=3,
        version_before=2,
        balance=balance(
            account,
            3,
            available=6 * CREDIT,
            reserved=4 * CREDIT,
            spendable=6 * CREDIT,
            granted=10 * CREDIT,
            bonus=10 * CREDIT,
            remaining=10 * CREDIT,
            total=10 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance


async def test_reserve_keeps_what_it_was_for(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    row = await credits.reserve(account, WHOLE)
    stored = await reservation(admin, row.reservation_id)
    assert len(stored.pop("fingerprint")) == 32
    assert stored == {
        "account_id": account,
        "id": row.reservation_id,
        "amount": 4 * CREDIT,
        "requested_amount": 4 * CREDIT,
        "requested_ttl_seconds": 60,
        "status": "pending",
        "idempotency_key": "k",
        "opened_at": NOW,
        "expires_at": NOW + timedelta(seconds=60),
        "closed_at": None,
        "opened_version": 3,
        "closed_version": None,
        "settled_version": None,
        "settled_amount": None,
        "release_reason": None,
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
        "metadata": {"a": [1, None]},
    }


async def test_reserve_writes_no_ledger_row(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    before = await accounts.snapshot()
    await credits.reserve(account, ReserveRequest("k", CREDIT))
    after = await accounts.snapshot()
    assert {table for table in after if after[table] != before[table]} == {
        "credits.accounts",
        "credits.reservations",
    }
    assert await versions(admin, account) == [1, 2, 3]


async def test_refusal_tells_the_facts_and_moves_nothing(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 10 * CREDIT + 1, "spendable": 10 * CREDIT, "shortfall": 1},
    ):
        await credits.reserve(account, ReserveRequest("k", 10 * CREDIT + 1))


async def test_all_that_is_available_may_be_reserved(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    row = await credits.reserve(account, ReserveRequest("k", 10 * CREDIT))
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("k2", 1))


async def test_reserve_on_an_unknown_account_is_refused(
    credits: Credits, accounts: Accounts
) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.reserve(account, ReserveRequest("k", CREDIT))


async def test_an_allowance_of_zero_grants_nothing(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=0)
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("k", 1))


# Limits.


async def test_reserve_refuses_an_amount_out_of_range(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    amounts: list[Any] = [0, -1, LARGEST + 1, 2**63 - 1, -(2**63), None]
    for amount in amounts:
        with subtests.test(amount=amount):
            async with refused(accounts, "VALIDATION_ERROR", BAD_AMOUNT):
                await credits.reserve(account, ReserveRequest("k", amount))


async def test_the_largest_amount_is_decided_by_the_balance(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(1)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": LARGEST, "spendable": CREDIT, "shortfall": LARGEST - CREDIT},
    ):
        await credits.reserve(account, ReserveRequest("k", LARGEST))


async def test_one_micro_credit_may_be_reserved(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(1)
    row = await credits.reserve(account, ReserveRequest("k", 1))
    assert figures(row.balance) == (CREDIT - 1, 1, 0)


async def test_reserve_refuses_a_key_of_bad_length(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    keys: list[Any] = ["", "k" * 256, "é" * 256, None]
    for key in keys:
        with subtests.test(key=key):
            async with refused(accounts, "VALIDATION_ERROR", BAD_KEY):
                await credits.reserve(account, ReserveRequest(key, CREDIT))


async def test_reserve_takes_keys_of_1_to_255_characters(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    for key in ("k", "k" * 255, "é" * 255):
        row = await credits.reserve(account, ReserveRequest(key, CREDIT))
        assert (await reservation(admin, row.reservation_id))["idempotency_key"] == key


async def test_reserve_refuses_a_time_out_of_range(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    times: list[Any] = [0, -1, 86_401, None]
    for ttl in times:
        with subtests.test(ttl=ttl):
            async with refused(accounts, "VALIDATION_ERROR", BAD_TTL):
                await credits.reserve(account, ReserveRequest("k", CREDIT, ttl))


async def test_reserve_takes_a_second_and_a_day(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    second = await credits.reserve(account, ReserveRequest("second", CREDIT, 1))
    day = await credits.reserve(account, ReserveRequest("day", CREDIT, 86_400))
    assert second.expires_at == NOW + timedelta(seconds=1)
    assert day.expires_at == NOW + timedelta(hours=24)
