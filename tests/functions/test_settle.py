"""credits.settle: what it charges, what it writes, how it replays."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.credits import Actor, Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Settled
from db.driver import Connection
from tests.functions.books import (
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

BAD_SETTLE = {"field": "amount", "reason": "must be at least 0 and at most 10^12 credits"}


async def opened(credits: Credits, account: UUID, amount: int = 4 * CREDIT) -> UUID:
    """Reserve for a minute: version 3 of an account with one grant."""
    request = ReserveRequest("k", amount, 60, feature="chat", model="gpt-x")
    return (await credits.reserve(account, request)).reservation_id


async def test_settle_charges_the_actual_and_returns_the_rest(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    row = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    assert row == Settled(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=False,
        reservation_id=first,
        status="settled",
        amount=4 * CREDIT,
        settled_amount=3 * CREDIT,
        late=False,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
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


async def test_settle_closes_the_reservation_and_writes_one_ledger_row_under_one_version(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    reserved = await credits.reserve(
        account,
        ReserveRequest(
            "k",
            4 * CREDIT,
            60,
            feature="chat",
            quality="high",
            model="gpt-x",
            price_version="2026-03",
            end_customer_ref="customer-7",
            related_type="document",
            related_id="d-1",
            related_name="Annual report",
            actor=Actor("user", "u-1", "A user"),
            metadata={"a": 1},
        ),
    )
    first = reserved.reservation_id
    at = await clock.advance(timedelta(seconds=5))
    await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    [grant] = await admin.fetch("select id, remaining, state from credits.grants")
    assert (grant["remaining"], grant["state"]) == (7 * CREDIT, "live")
    [entry] = await ledger(admin, account, after=2)
    assert dict(entry) == {
        "account_id": account,
        "version": 4,
        "type": "consumption",
        "operation": "settle",
        "amount": -3 * CREDIT,
        "available_after": 7 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "reservation_id": first,
        "grant_id": None,
        "refund_of": None,
        "estimated": 4 * CREDIT,
        "drawn_grant_ids": [grant["id"]],
        "drawn_amounts": [3 * CREDIT],
        "idempotency_key": None,
        "fingerprint": None,
        "reason": None,
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
        "created_at": at,
    }
    stored = await reservation(admin, first)
    assert (stored["status"], stored["settled_amount"]) == ("settled", 3 * CREDIT)
    assert (stored["closed_version"], stored["settled_version"]) == (4, 4)
    assert (stored["amount"], stored["closed_at"]) == (4 * CREDIT, at)
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_the_settle_may_name_its_own_actor_model_and_metadata(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.settle(
        account,
        SettleRequest(
            first,
            CREDIT,
            model="gpt-x-2",
            actor=Actor("key", "k-1", "A key"),
            metadata={"b": 2},
        ),
    )
    [entry] = await ledger(admin, account, after=2)
    assert (entry["model"], entry["metadata"]) == ("gpt-x-2", {"b": 2})
    assert (entry["actor_kind"], entry["actor_id"], entry["actor_label"]) == (
        "key",
        "k-1",
        "A key",
    )
    # The reservation keeps what it was opened with.
    stored = await reservation(admin, first)
    assert (stored["model"], stored["actor_kind"], stored["metadata"]) == ("gpt-x", None, None)


async def test_settle_of_exactly_what_was_reserved(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    row = await credits.settle(account, SettleRequest(first, 4 * CREDIT))
    assert figures(row.balance) == (6 * CREDIT, 0, 0)


async def test_settle_of_zero_gives_all_back_and_writes_no_ledger_row(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    row = await credits.settle(account, SettleRequest(first, 0, input_tokens=0))
    assert (row.status, row.settled_amount, row.version) == ("settled", 0, 4)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert await ledger(admin, account, after=2) == []
    [used] = await usage(admin, account)
    assert (used["reservation_id"], used["version"], used["credits"]) == (first, 4, 0)
    assert used["input_tokens"] == 0
    stored = await reservation(admin, first)
    assert (stored["status"], stored["settled_amount"]) == ("settled", 0)
    assert (stored["closed_version"], stored["settled_version"]) == (4, 4)
    assert await versions(admin, account) == [1, 2, 3, 4]


# Replay.


@pytest.mark.parametrize("amount", [0, 3 * CREDIT, 4 * CREDIT, 6 * CREDIT])
async def test_the_same_amount_again_is_a_replay(
    credits: Credits, accounts: Accounts, amount: int
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.settle(account, SettleRequest(first, amount))
    await credits.issue_grant(account, CREDIT, "top_up", "more")
    before = await accounts.snapshot()
    # What else the second request says does not matter: the first is what happened.
    again = await credits.settle(account, SettleRequest(first, amount, input_tokens=7))
    assert again == Settled(
        ordinal=1,
        outcome="OK",
        facts=None,
        replayed=True,
        reservation_id=first,
        status="settled",
        amount=4 * CREDIT,
        settled_amount=amount,
        late=False,
        version=4,
        version_before=5,
        balance=await accounts.balance(account),
    )
    assert figures(again.balance) == (11 * CREDIT - amount, 0, 0)
    assert await accounts.snapshot() == before


async def test_another_amount_is_refused_with_the_amount_that_won(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    for amount in (3 * CREDIT + 1, 3 * CREDIT - 1, 0):
        async with refused(
            accounts,
            "RESERVATION_SETTLED",
            {"reservationId": str(first), "settledAmount": 3 * CREDIT},
        ):
            await credits.settle(account, SettleRequest(first, amount))


async def test_after_a_settle_of_zero_another_amount_is_refused(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.settle(account, SettleRequest(first, 0))
    async with refused(
        accounts, "RESERVATION_SETTLED", {"reservationId": str(first), "settledAmount": 0}
    ):
        await credits.settle(account, SettleRequest(first, 1))


# Refusals.


async def test_settle_after_release_is_refused(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    await credits.release(account, ReleaseRequest(first))
    for amount in (0, 4 * CREDIT):
        async with refused(accounts, "RESERVATION_RELEASED", {"reservationId": str(first)}):
            await credits.settle(account, SettleRequest(first, amount))


async def test_settle_refuses_an_amount_out_of_range(
    credits: Credits, accounts: Accounts, subtests: pytest.Subtests
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account)
    for amount in (-1, -(2**63), LARGEST + 1, 2**63 - 1, None):
        with subtests.test(amount=amount):
            async with refused(accounts, "VALIDATION_ERROR", BAD_SETTLE):
                await credits.settle(account, SettleRequest(first, amount))


async def test_settle_finds_only_reservations_of_its_account(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    theirs = await opened(credits, await accounts.open(10))
    for reservation_id in (theirs, uuid4()):
        async with refused(
            accounts, "RESERVATION_NOT_FOUND", {"reservationId": str(reservation_id)}
        ):
            await credits.settle(account, SettleRequest(reservation_id, CREDIT))
    async with refused(accounts, "RESERVATION_NOT_FOUND", {"reservationId": None}):
        await credits.settle(account, SettleRequest(None, CREDIT))
    missing = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(missing)}):
        await credits.settle(missing, SettleRequest(theirs, CREDIT))


# After expiry.


async def test_a_settle_after_expiry_still_charges(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    expired_at = await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    at = await clock.advance(timedelta(seconds=5))
    row = await credits.settle(account, SettleRequest(first, 3 * CREDIT, output_tokens=9))
    assert (row.status, row.settled_amount, row.late) == ("settled", 3 * CREDIT, True)
    assert (row.version_before, row.version, row.replayed) == (4, 5, False)
    assert figures(row.balance) == (7 * CREDIT, 0, 0)
    # The expiry keeps its version and its time; the settle has its own.
    stored = await reservation(admin, first)
    assert (stored["status"], stored["closed_version"], stored["settled_version"]) == (
        "settled",
        4,
        5,
    )
    assert stored["closed_at"] == expired_at
    [entry] = await ledger(admin, account, after=2)
    assert (entry["version"], entry["amount"], entry["estimated"]) == (5, -3 * CREDIT, 4 * CREDIT)
    assert entry["created_at"] == at
    [used] = await usage(admin, account)
    assert (used["version"], used["credits"], used["output_tokens"]) == (5, 3 * CREDIT, 9)
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_a_late_settle_takes_available_and_then_raises_overage(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    await credits.deduct(account, 8 * CREDIT, "d")
    row = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    assert figures(row.balance) == (0, 0, CREDIT)


async def test_a_late_settle_of_zero_charges_nothing_and_is_recorded(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    row = await credits.settle(account, SettleRequest(first, 0))
    assert (row.status, row.late, row.version) == ("settled", True, 5)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert await ledger(admin, account, after=2) == []
    assert [(u["version"], u["credits"]) for u in await usage(admin, account)] == [(5, 0)]
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_a_late_settle_is_replayed_and_refused_as_any_other(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    done = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    before = await accounts.snapshot()
    again = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    assert (again.replayed, again.late, again.version) == (True, True, done.version)
    assert await accounts.snapshot() == before
    facts: dict[str, Any] = {"reservationId": str(first), "settledAmount": 3 * CREDIT}
    async with refused(accounts, "RESERVATION_SETTLED", facts):
        await credits.settle(account, SettleRequest(first, 4 * CREDIT))


async def test_past_its_time_but_not_yet_expired_a_settle_is_an_ordinary_one(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account)
    await clock.advance(timedelta(hours=1))
    row = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    assert (row.late, row.version) == (False, 4)
    assert figures(row.balance) == (7 * CREDIT, 0, 0)
    assert await versions(admin, account) == [1, 2, 3, 4]
