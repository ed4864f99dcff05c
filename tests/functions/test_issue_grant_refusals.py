"""credits.issue_grant: what it refuses, repeats and cannot hold."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Actor, Granted
from db.driver import Connection
from tests.conftest import Servers
from tests.functions.books import BAD_AMOUNT, BAD_KEY, LARGEST, NOW, PERIOD_END, figures, refused
from tests.functions.grants import moves
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

INSTANT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
LIMIT = 9 * LARGEST

BAD_SOURCE = {
    "field": "source",
    "reason": "must be top_up, promotional, referral or admin_adjustment",
}
BAD_EXPIRY = {"field": "expiresAt", "reason": "must lie after the grant takes effect"}


async def test_malformed_requests(credits: Credits, accounts: Accounts, clock: Clock) -> None:
    await clock.set(NOW)
    account = await accounts.open(1)
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"amount": 0}, BAD_AMOUNT),
        ({"amount": -1}, BAD_AMOUNT),
        ({"amount": LARGEST + 1}, BAD_AMOUNT),
        ({"amount": None}, BAD_AMOUNT),
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
        ({"source": "plan_allocation"}, BAD_SOURCE),
        ({"source": "refund"}, BAD_SOURCE),
        ({"source": None}, BAD_SOURCE),
        ({"category": "free"}, {"field": "category", "reason": "must be paid or promotional"}),
        *(
            ({"priority": p}, {"field": "priority", "reason": "must be from 0 to 100"})
            for p in (-1, 101, None)
        ),
        ({"expires_at": NOW}, BAD_EXPIRY),
        ({"expires_at": NOW - HOUR, "effective_at": NOW - 2 * HOUR}, BAD_EXPIRY),
        ({"expires_at": NOW + HOUR, "effective_at": NOW + HOUR}, BAD_EXPIRY),
    ]
    wanted: dict[str, Any] = {"amount": CREDIT, "source": "top_up", "idempotency_key": "k"}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.issue_grant(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.issue_grant(account, CREDIT, "top_up", "k")


async def test_replay_answers_the_grant_as_it_is_now(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    wanted: dict[str, Any] = {"expires_at": NOW + 2 * HOUR, "effective_at": NOW + HOUR}

    async def again() -> Granted:
        before = await accounts.snapshot()
        row = await credits.issue_grant(account, 10 * CREDIT, "top_up", "k", **wanted)
        assert row.replayed
        assert row.version_before == row.balance.balance_version
        assert await accounts.snapshot() == before
        assert await accounts.balance(account) == row.balance
        return row

    first = await credits.issue_grant(account, 10 * CREDIT, "top_up", "k", **wanted)
    assert await again() == replace(first, replayed=True)
    await clock.set(NOW + HOUR)
    await credits.catch_up(account)
    row = await again()
    assert (row.grant_id, row.amount) == (first.grant_id, 10 * CREDIT)
    assert (row.state, row.grant_remaining, row.version) == ("live", 10 * CREDIT, 2)
    await credits.deduct(account, 3 * CREDIT, "spent")
    row = await again()
    assert (row.state, row.grant_remaining, row.version) == ("live", 7 * CREDIT, 2)
    await clock.set(NOW + 2 * HOUR)
    await credits.catch_up(account)
    row = await again()
    assert (row.state, row.grant_remaining, row.version) == ("closed", 0, 2)


async def test_reason_and_actor_may_differ_in_a_replay(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open()
    await credits.issue_grant(account, CREDIT, "top_up", "k", reason="one")
    before = await accounts.snapshot()
    row = await credits.issue_grant(
        account, CREDIT, "top_up", "k", reason="two", actor=Actor("key", "2", "Two")
    )
    assert row.replayed
    assert await accounts.snapshot() == before


async def test_same_key_for_another_grant(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    wanted: dict[str, Any] = {
        "amount": CREDIT,
        "source": "top_up",
        "priority": 50,
        "effective_at": NOW,
        "expires_at": NOW + HOUR,
        "source_ref": "p",
        "metadata": {"a": 1},
    }
    await credits.issue_grant(account, idempotency_key="k", **wanted)
    for other in (
        {"amount": CREDIT + 1},
        {"source": "promotional"},
        {"category": "promotional"},
        {"priority": 51},
        {"effective_at": NOW + INSTANT},
        {"effective_at": None},
        {"expires_at": NOW + HOUR + INSTANT},
        {"expires_at": None},
        {"source_ref": "q"},
        {"metadata": {"a": 2}},
        {"metadata": None},
    ):
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.issue_grant(account, idempotency_key="k", **(wanted | other))
    # A category that is named and one that follows from the source are the same.
    row = await credits.issue_grant(account, idempotency_key="k", **(wanted | {"category": "paid"}))
    assert row.replayed


async def test_keys_of_accounts_know_nothing_of_each_other(
    credits: Credits, accounts: Accounts
) -> None:
    one, two = await accounts.open(), await accounts.open()
    # As long as a key may be.
    first = await credits.issue_grant(one, CREDIT, "top_up", "k" * 255)
    other = await credits.issue_grant(two, 2 * CREDIT, "top_up", "k" * 255)
    assert (other.replayed, other.amount) == (False, 2 * CREDIT)
    assert first.grant_id != other.grant_id


async def test_the_session_s_zone_and_date_style_do_not_change_a_request(
    servers: Servers, database_name: str, credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    until = NOW + HOUR
    await credits.issue_grant(account, CREDIT, "top_up", "k", expires_at=until)
    session = await asyncpg.connect(
        servers.app_url(database_name),
        server_settings={"timezone": "America/St_Johns", "datestyle": "SQL, DMY"},
    )
    try:
        replayed = await session.fetchval(
            "select replayed from credits.issue_grant($1, $2, 'top_up', 'k', p_expires_at => $3)",
            *(account, CREDIT, until),
        )
    finally:
        await session.close()
    assert replayed is True


async def test_lifetime_limit_is_reached_exactly(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open()
    rows = [await credits.issue_grant(account, LARGEST, "top_up", f"{n}") for n in range(9)]
    full = rows[-1].balance
    assert figures(full) == (LIMIT, 0, 0)
    assert (full.granted, full.total) == (LIMIT, LIMIT)
    async with refused(accounts, "BALANCE_LIMIT", {"limit": LIMIT}):
        await credits.issue_grant(account, 1, "top_up", "one more")

    # No sum over it overflows: what was granted can be held, used and found used.
    held = await credits.reserve_set(account, [ReserveRequest(f"r{n}", LARGEST) for n in range(9)])
    assert figures(held[-1].balance) == (0, LIMIT, 0)
    await credits.release_set(account, [ReleaseRequest(r.reservation_id) for r in held[:4]])
    settled = await credits.settle_set(
        account, [SettleRequest(r.reservation_id, LARGEST) for r in held[4:]]
    )
    assert figures(settled[-1].balance) == (4 * LARGEST, 0, 0)
    spent = await credits.deduct(account, LARGEST, "spent")
    assert (spent.balance.used_this_period, spent.balance.total) == (6 * LARGEST, LIMIT)
    assert spent.balance.usage_basis_points == 6666

    # The limit is of a lifetime: what was used makes no room.
    async with refused(accounts, "BALANCE_LIMIT", {"limit": LIMIT}):
        await credits.issue_grant(account, 1, "top_up", "one more")


async def test_grants_to_come_take_their_room_at_once(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    # Were they refused when their time comes, nothing could ever be done with the account.
    await clock.set(NOW)
    account = await accounts.open()
    for n in range(9):
        await credits.issue_grant(
            account, LARGEST, "top_up", f"{n}", effective_at=NOW + (n + 1) * HOUR
        )
    async with refused(accounts, "BALANCE_LIMIT", {"limit": LIMIT}):
        await credits.issue_grant(account, 1, "top_up", "now")
    async with refused(accounts, "BALANCE_LIMIT", {"limit": LIMIT}):
        await credits.issue_grant(account, 1, "top_up", "later", effective_at=NOW + HOUR)
    await clock.set(NOW + 9 * HOUR)
    assert figures((await credits.catch_up(account)).balance) == (LIMIT, 0, 0)


async def test_a_full_account_goes_on_without_its_allowance(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.issue_grant(account, LARGEST, "top_up", "0")
    for n in range(1, 9):
        await credits.issue_grant(
            account, LARGEST - (100 * CREDIT if n == 8 else 0), "top_up", f"{n}"
        )
    last = await credits.deduct(account, 30 * CREDIT, "spent")
    await clock.set(PERIOD_END)
    row = await credits.reserve(account, ReserveRequest("r", CREDIT))
    assert row.balance is not None
    assert row.balance.period_start == PERIOD_END
    assert row.balance.monthly == 0
    assert figures(row.balance) == (LIMIT - 101 * CREDIT, CREDIT, 0)
    assert await moves(admin, account, last.version) == [("expiration", -70 * CREDIT, PERIOD_END)]
