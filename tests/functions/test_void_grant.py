"""credits.void_grant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from app.credits import Credits, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Voided
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
from tests.functions.grants import changes, grant, grants, moves, parts, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)


def too_much(left: int, *, scheduled: bool = False) -> dict[str, str]:
    return {
        "field": "amount",
        "reason": f"must be at most the {left} micro-credits of the grant not yet taken back"
        + (", and all of them" if scheduled else ""),
    }


async def test_void_takes_the_grant_back(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g", expires_at=NOW + HOUR)
    other = await top_up(credits, account, 5, "other")
    row = await credits.void_grant(
        account, given, "k", reason="bought by mistake", actor=Actor("admin", "a-1", "Admin")
    )
    assert row == Voided(
        grant_id=given,
        requested=10 * CREDIT,
        taken=10 * CREDIT,
        overage_added=0,
        missing=0,
        replayed=False,
        version=4,
        version_before=3,
        balance=balance(
            account,
            4,
            available=5 * CREDIT,
            spendable=5 * CREDIT,
            granted=5 * CREDIT,
            bonus=5 * CREDIT,
            remaining=5 * CREDIT,
            total=5 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    voided, kept = await grant(admin, given), await grant(admin, other)
    assert (voided["state"], voided["remaining"]) == ("closed", 0)
    assert (kept["state"], kept["remaining"]) == ("live", 5 * CREDIT)
    [entry] = await ledger(admin, account, 3)
    assert {k: v for k, v in entry.items() if v is not None} == {
        "account_id": account,
        "version": 4,
        "type": "void",
        "operation": "void_grant",
        "amount": -10 * CREDIT,
        "available_after": 5 * CREDIT,
        "reserved_after": 0,
        "overage_after": 0,
        "grant_id": given,
        "drawn_grant_ids": [given],
        "drawn_amounts": [10 * CREDIT],
        "reason": "bought by mistake",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW,
    }
    [request] = await admin.fetch("select * from credits.grant_voids")
    kept = dict(request)
    assert kept.pop("fingerprint") is not None
    assert kept == {
        "account_id": account,
        "idempotency_key": "k",
        "grant_id": given,
        "requested": 10 * CREDIT,
        "taken": 10 * CREDIT,
        "overage_added": 0,
        "missing": 0,
        "version": 4,
        "reason": "bought by mistake",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW,
    }
    after = await stored(admin, account)
    assert (after["clawed_back_total"], after["next_due_at"]) == (10 * CREDIT, after["period_end"])


async def test_what_is_spent_or_reserved_is_reported_missing(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 3 * CREDIT, "spent")
    held = await credits.reserve(account, ReserveRequest("r", 2 * CREDIT))
    row = await credits.void_grant(account, given, "k")
    assert parts(row) == (10, 5, 0, 5)
    assert figures(row.balance) == (0, 2 * CREDIT, 0)
    assert await grants(admin, account) == [("top_up", "live", 10 * CREDIT, 2 * CREDIT)]
    # The reservation keeps what it holds.
    done = await credits.settle(account, SettleRequest(held.reservation_id, 2 * CREDIT))
    assert figures(done.balance) == (0, 0, 0)


async def test_reservations_hold_the_grants_before_it_first(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open()
    first = await top_up(credits, account, 10, "first", category="promotional")
    last = await top_up(credits, account, 10, "last")
    await credits.reserve(account, ReserveRequest("r", 12 * CREDIT))
    assert parts(await credits.void_grant(account, first, "a")) == (10, 0, 0, 10)
    assert parts(await credits.void_grant(account, last, "b")) == (10, 8, 0, 2)


async def test_nothing_taken_moves_nothing_but_is_remembered(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    spent = await credits.deduct(account, 10 * CREDIT, "spent")
    row = await credits.void_grant(account, given, "k")
    assert parts(row) == (10, 0, 0, 10)
    assert (row.version, row.version_before) == (None, spent.version)
    assert row.balance == spent.balance
    assert await ledger(admin, account, spent.version) == []
    assert await credits.void_grant(account, given, "k") == replace(row, replayed=True)


async def test_dispute_turns_what_is_missing_into_debt(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 6 * CREDIT, "spent")
    row = await credits.void_grant(account, given, "k", missing_becomes_overage=True)
    assert parts(row) == (10, 4, 6, 0)
    assert figures(row.balance) == (0, 0, 6 * CREDIT)
    assert row.balance.spendable == 0
    taken, owed = await ledger(admin, account, row.version_before)
    assert (taken["type"], taken["amount"], taken["overage_after"]) == ("void", -4 * CREDIT, 0)
    assert (owed["type"], owed["amount"], owed["overage_after"]) == (
        *("void", -6 * CREDIT),
        6 * CREDIT,
    )
    assert (owed["grant_id"], owed["drawn_grant_ids"]) == (given, None)
    assert row.version == owed["version"] == row.version_before + 2


async def test_dispute_draws_on_other_grants_first(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 6 * CREDIT, "spent")
    other = await top_up(credits, account, 5, "other")
    row = await credits.void_grant(account, given, "k", missing_becomes_overage=True)
    assert parts(row) == (10, 4, 6, 0)
    assert figures(row.balance) == (0, 0, CREDIT)
    assert row.balance.granted == 0
    _, owed = await ledger(admin, account, row.version_before)
    assert (owed["drawn_grant_ids"], owed["drawn_amounts"]) == ([other], [5 * CREDIT])


async def test_dispute_leaves_reservations_open_and_owes_for_them(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    held = await credits.reserve(account, ReserveRequest("r", 7 * CREDIT))
    row = await credits.void_grant(account, given, "k", missing_becomes_overage=True)
    assert parts(row) == (10, 3, 7, 0)
    assert figures(row.balance) == (0, 7 * CREDIT, 7 * CREDIT)
    assert await grants(admin, account) == [("top_up", "closed", 10 * CREDIT, 0)]
    # What it does not use pays the debt; what it uses is owed.
    done = await credits.settle(account, SettleRequest(held.reservation_id, 5 * CREDIT))
    assert figures(done.balance) == (0, 0, 5 * CREDIT)


async def test_project_may_say_that_missing_credits_are_owed(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(clawback_creates_overage=True)
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 10 * CREDIT, "spent")
    row = await credits.void_grant(account, given, "k")
    assert parts(row) == (10, 0, 10, 0)
    assert figures(row.balance) == (0, 0, 10 * CREDIT)


async def test_void_in_parts_ends_with_the_whole(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 5 * CREDIT, "spent")
    seen = [
        parts(await credits.void_grant(account, given, f"{n}", amount=3 * CREDIT)) for n in range(3)
    ]
    assert seen == [(3, 3, 0, 0), (3, 2, 0, 1), (3, 0, 0, 3)]
    async with refused(accounts, "VALIDATION_ERROR", too_much(CREDIT)):
        await credits.void_grant(account, given, "over", amount=CREDIT + 1)
    # Without an amount: all that was not yet taken back, and then there is nothing left.
    assert parts(await credits.void_grant(account, given, "rest")) == (1, 0, 0, 1)
    for amount in (None, 1):
        async with refused(accounts, "VALIDATION_ERROR", too_much(0)):
            await credits.void_grant(account, given, "again", amount=amount)
    assert await grants(admin, account) == [("top_up", "closed", 10 * CREDIT, 0)]


async def test_parts_of_a_dispute_take_the_whole_once(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 5 * CREDIT, "spent")
    for n, (amount, seen, owed) in enumerate(
        [(4, (4, 4, 0, 0), 0), (4, (4, 1, 3, 0), 3), (2, (2, 0, 2, 0), 5)]
    ):
        row = await credits.void_grant(
            account, given, f"{n}", amount=amount * CREDIT, missing_becomes_overage=True
        )
        assert parts(row) == seen
        assert row.balance.overage == owed * CREDIT


async def test_grant_to_come_is_canceled_whole(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(1)
    given = await credits.issue_grant(account, 10 * CREDIT, "top_up", "g", effective_at=NOW + HOUR)
    async with refused(accounts, "VALIDATION_ERROR", too_much(10 * CREDIT, scheduled=True)):
        await credits.void_grant(account, given.grant_id, "part", amount=10 * CREDIT - 1)

    row = await credits.void_grant(account, given.grant_id, "k", reason="not wanted")
    assert parts(row) == (10, 10, 0, 0)
    assert row.version == given.version_before + 1
    assert row.balance == replace(given.balance, balance_version=row.version)
    assert (await grant(admin, given.grant_id))["state"] == "closed"
    assert await ledger(admin, account, given.version_before) == []
    [change] = await changes(admin, account, "cancel_grant")
    assert (change["version"], change["before"], change["after"], change["reason"]) == (
        row.version,
        {"grantId": str(given.grant_id), "amount": 10 * CREDIT},
        None,
        "not wanted",
    )
    assert (await stored(admin, account))["next_due_at"] == row.balance.period_end

    await clock.set(NOW + 2 * HOUR)
    assert figures((await credits.catch_up(account)).balance) == (CREDIT, 0, 0)
    again = await credits.issue_grant(account, 10 * CREDIT, "top_up", "g", effective_at=NOW + HOUR)
    assert (again.replayed, again.state, again.version) == (True, "closed", None)


async def test_grant_that_has_ended_has_nothing_to_take(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(5)
    ended = await top_up(credits, account, 10, "ended", expires_at=NOW + HOUR)
    lapsed = await top_up(credits, account, 10, "lapsed", expires_at=NOW + HOUR)
    await credits.reserve(account, ReserveRequest("r", 15 * CREDIT, 86400))
    await clock.set(NOW + HOUR)
    # The first lapsed whole, the second by half; what reservations hold is not taken.
    assert parts(await credits.void_grant(account, ended, "a")) == (10, 0, 0, 10)
    row = await credits.void_grant(account, lapsed, "b")
    assert parts(row) == (10, 0, 0, 10)
    assert figures(row.balance) == (5 * CREDIT, 15 * CREDIT, 0)


async def test_voided_allowance_comes_back_with_the_next_period(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    [plan] = await admin.fetch("select id from credits.grants where account_id = $1", account)
    row = await credits.void_grant(account, plan["id"], "k")
    assert figures(row.balance) == (0, 0, 0)
    await clock.set(row.balance.period_end)
    assert figures((await credits.catch_up(account)).balance) == (100 * CREDIT, 0, 0)
    # No row tells of the nothing that expired.
    assert [
        (kind, amount) for kind, amount, _ in await moves(admin, account, row.version or 0)
    ] == [("plan_allocation", 100 * CREDIT)]


async def test_void_refusals(credits: Credits, accounts: Accounts) -> None:
    account, stranger = await accounts.open(1), await accounts.open()
    given = await top_up(credits, account, 10, "g")
    cases: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"amount": 0}, "VALIDATION_ERROR", BAD_AMOUNT),
        ({"amount": -1}, "VALIDATION_ERROR", BAD_AMOUNT),
        ({"amount": LARGEST + 1}, "VALIDATION_ERROR", BAD_AMOUNT),
        ({"amount": 10 * CREDIT + 1}, "VALIDATION_ERROR", too_much(10 * CREDIT)),
        ({"idempotency_key": ""}, "VALIDATION_ERROR", BAD_KEY),
        ({"idempotency_key": "k" * 256}, "VALIDATION_ERROR", BAD_KEY),
        ({"idempotency_key": None}, "VALIDATION_ERROR", BAD_KEY),
        *(
            ({"grant_id": unknown}, "GRANT_NOT_FOUND", {"grantId": str(unknown)})
            for unknown in [uuid4()]
        ),
        *(
            ({"account_id": unknown}, "BALANCE_NOT_FOUND", {"accountId": str(unknown)})
            for unknown in [uuid4()]
        ),
        # Another account's grant is not there.
        ({"account_id": stranger}, "GRANT_NOT_FOUND", {"grantId": str(given)}),
    ]
    wanted: dict[str, Any] = {"account_id": account, "grant_id": given, "idempotency_key": "k"}
    for arguments, code, facts in cases:
        async with refused(accounts, code, facts):
            await credits.void_grant(**(wanted | arguments))


async def test_void_replays_what_was_taken_the_first_time(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    await credits.deduct(account, 3 * CREDIT, "spent")
    first = await credits.void_grant(account, given, "k", amount=8 * CREDIT)
    assert parts(first) == (8, 7, 0, 1)
    later = await credits.issue_grant(account, 4 * CREDIT, "top_up", "later")
    assert later.version is not None
    before = await accounts.snapshot()
    again = await credits.void_grant(account, given, "k", amount=8 * CREDIT, reason="again")
    assert again == replace(
        first, replayed=True, version_before=later.version, balance=later.balance
    )
    assert await accounts.snapshot() == before


async def test_same_key_for_another_void(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    given = await top_up(credits, account, 10, "g")
    other = await top_up(credits, account, 10, "other")
    await credits.void_grant(account, given, "k", amount=CREDIT)
    wanted: dict[str, Any] = {"grant_id": given, "amount": CREDIT}
    for changed in (
        {"grant_id": other},
        {"amount": 2 * CREDIT},
        {"amount": None},
        {"missing_becomes_overage": True},
    ):
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.void_grant(account, idempotency_key="k", **(wanted | changed))
