"""credits.settle: the usage record of each call."""

from datetime import timedelta
from typing import Any

import pytest

from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import BAD_USAGE, NOW, refused, usage
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

ASKED = ReserveRequest(
    "k",
    4 * CREDIT,
    60,
    feature="chat",
    quality="high",
    model="gpt-x",
    price_version="2026-03",
    end_customer_ref="customer-7",
    related_type="document",
    metadata={"of": "the reservation"},
)


async def test_the_usage_record_holds_what_was_passed(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = (await credits.reserve(account, ASKED)).reservation_id
    at = await clock.advance(timedelta(seconds=5))
    await credits.settle(
        account,
        SettleRequest(
            first,
            3 * CREDIT,
            operation="chat.completions",
            model="gpt-x-2",
            input_tokens=11,
            output_tokens=0,
            usage_estimated=True,
            cost_nanodollars=2**62,
            latency_ms=1234,
            status_code=200,
            trace_id="trace-1",
            occurred_at=NOW + timedelta(seconds=1),
            metadata={"of": ["the", "call"]},
        ),
    )
    [row] = await usage(admin, account)
    record = dict(row)
    assert record.pop("id").version == 7
    assert record == {
        "account_id": account,
        "reservation_id": first,
        "version": 4,
        "kind": "llm",
        "operation": "chat.completions",
        "feature": "chat",
        "quality": "high",
        "model": "gpt-x-2",
        "price_version": "2026-03",
        "input_tokens": 11,
        "output_tokens": 0,
        "usage_estimated": True,
        "cost_nanodollars": 2**62,
        "credits": 3 * CREDIT,
        "status_code": 200,
        "latency_ms": 1234,
        "trace_id": "trace-1",
        "end_customer_ref": "customer-7",
        "metadata": {"of": ["the", "call"]},
        "occurred_at": NOW + timedelta(seconds=1),
        "recorded_at": at,
    }


async def test_what_the_settle_does_not_tell_is_unknown_and_not_zero(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = (await credits.reserve(account, ASKED)).reservation_id
    await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    [row] = await usage(admin, account)
    told = {"id", "account_id", "reservation_id", "version", "kind", "credits", "usage_estimated"}
    assert {name: value for name, value in row.items() if name not in told} == {
        "operation": None,
        "feature": "chat",
        "quality": "high",
        "model": "gpt-x",
        "price_version": "2026-03",
        "input_tokens": None,
        "output_tokens": None,
        "cost_nanodollars": None,
        "status_code": None,
        "latency_ms": None,
        "trace_id": None,
        "end_customer_ref": "customer-7",
        "metadata": None,
        "occurred_at": NOW,
        "recorded_at": NOW,
    }
    assert row["usage_estimated"] is False


async def test_negative_usage_is_refused(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    first = (await credits.reserve(account, ASKED)).reservation_id
    fields: list[dict[str, Any]] = [
        {"input_tokens": -1},
        {"output_tokens": -1},
        {"cost_nanodollars": -1},
        {"latency_ms": -1},
        {"input_tokens": 5, "output_tokens": -(2**63)},
    ]
    for field in fields:
        with subtests.test(**field):
            async with refused(accounts, "VALIDATION_ERROR", BAD_USAGE):
                await credits.settle(account, SettleRequest(first, CREDIT)._replace(**field))


async def test_a_replay_writes_no_second_usage_record(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = (await credits.reserve(account, ASKED)).reservation_id
    for _ in range(3):
        await credits.settle(account, SettleRequest(first, CREDIT, input_tokens=1))
    assert len(await usage(admin, account)) == 1
