"""credits.set_allowance: funding, refusals, repeats and limits."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.database import Database
from app.credits import Credits
from db.driver import Connection
from tests.functions.books import BAD_KEY, NOW, PERIOD_END, figures, refused
from tests.functions.books import LARGEST as LARGEST_GRANT
from tests.functions.grants import grants, stored
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

LARGEST = 1_000_000_000 * CREDIT
DAY = timedelta(days=1)
BAD_ALLOWANCE = {
    "field": "allowance",
    "reason": "must be -1 (unlimited) or from 0 to 10^9 credits",
}
BAD_CAP = {"field": "rolloverCap", "reason": "must be from 0 to 10^9 credits"}
BAD_TIME = {"field": "takesEffect", "reason": "must be now or period_end"}


async def test_month_that_is_not_paid_for_is_granted_when_it_is(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.set_allowance(account, 100 * CREDIT, "paid", funded_until=PERIOD_END)
    await clock.set(PERIOD_END + 3 * DAY)
    assert (await credits.catch_up(account)).balance.monthly == 0
    # Neither more nor less of what is not paid for changes anything.
    for n, allowance in enumerate((200, 50, 100)):
        row = await credits.set_allowance(account, allowance * CREDIT, f"{n}")
        assert figures(row.balance) == (0, 0, 0)

    row = await credits.set_allowance(
        account, 100 * CREDIT, "late", funded_until=PERIOD_END + 30 * DAY
    )
    assert figures(row.balance) == (100 * CREDIT, 0, 0)
    given = await admin.fetchrow(
        "select source, effective_at, expires_at from credits.grants order by id desc limit 1"
    )
    assert given is not None
    assert tuple(given) == (
        "plan_allocation",
        PERIOD_END + 3 * DAY,
        datetime(2026, 5, 10, 10, tzinfo=UTC),
    )
    # Told twice of one payment, the month is granted once.
    row = await credits.set_allowance(
        account, 100 * CREDIT, "told twice", funded_until=PERIOD_END + 30 * DAY
    )
    assert figures(row.balance) == (100 * CREDIT, 0, 0)


async def test_funding_that_ends_takes_nothing_back(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    row = await credits.set_allowance(account, 100 * CREDIT, "k", funded_until=NOW + DAY)
    assert figures(row.balance) == (100 * CREDIT, 0, 0)
    await clock.set(PERIOD_END)
    assert figures((await credits.catch_up(account)).balance) == (0, 0, 0)


async def test_a_change_that_waits_is_not_hurried_by_what_falls_due_before_it(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.set_allowance(account, 10 * CREDIT, "less", takes_effect="period_end")
    await credits.issue_grant(account, CREDIT, "promotional", "gift", expires_at=NOW + DAY)
    await clock.set(NOW + 2 * DAY)
    balance = (await credits.catch_up(account)).balance
    assert (balance.period_grant, balance.monthly) == (100 * CREDIT, 100 * CREDIT)
    await clock.set(PERIOD_END)
    balance = (await credits.catch_up(account)).balance
    assert (balance.period_grant, balance.monthly) == (10 * CREDIT, 10 * CREDIT)


async def test_null_keeps_the_funding_and_infinity_ends_its_end(
    credits: Credits, accounts: Accounts, admin: Connection, database: Database, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.set_allowance(account, 100 * CREDIT, "a", funded_until=PERIOD_END)
    await credits.set_allowance(account, 100 * CREDIT, "b")
    assert (await stored(admin, account))["funded_until"] == PERIOD_END
    await database.fetch(
        "select credits.set_allowance($1, $2, 'c', p_funded_until => 'infinity')",
        *(account, 100 * CREDIT),
    )
    assert (await stored(admin, account))["funded_until"] is None
    await clock.set(PERIOD_END)
    assert figures((await credits.catch_up(account)).balance) == (100 * CREDIT, 0, 0)


async def test_roll_over_cap_is_kept_unless_it_is_set(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100, rollover_cap=5 * CREDIT)
    await credits.set_allowance(account, 100 * CREDIT, "a")
    assert (await stored(admin, account))["rollover_cap"] == 5 * CREDIT
    await credits.set_allowance(account, 100 * CREDIT, "b", rollover_cap=7 * CREDIT)
    assert (await stored(admin, account))["rollover_cap"] == 7 * CREDIT
    await credits.set_allowance(account, 100 * CREDIT, "c", takes_effect="period_end")
    assert (await stored(admin, account))["pending_rollover_cap"] == 7 * CREDIT


async def test_malformed_requests(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=100)
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"period_grant": -2}, BAD_ALLOWANCE),
        ({"period_grant": LARGEST + 1}, BAD_ALLOWANCE),
        ({"period_grant": None}, BAD_ALLOWANCE),
        ({"rollover_cap": -1}, BAD_CAP),
        ({"rollover_cap": LARGEST + 1}, BAD_CAP),
        ({"takes_effect": "later"}, BAD_TIME),
        ({"takes_effect": None}, BAD_TIME),
        ({"idempotency_key": ""}, BAD_KEY),
        ({"idempotency_key": "k" * 256}, BAD_KEY),
        ({"idempotency_key": None}, BAD_KEY),
    ]
    wanted: dict[str, Any] = {"period_grant": CREDIT, "idempotency_key": "k"}
    for arguments, facts in cases:
        async with refused(accounts, "VALIDATION_ERROR", facts):
            await credits.set_allowance(account, **(wanted | arguments))


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    async with refused(accounts, "BALANCE_NOT_FOUND", {"accountId": str(account)}):
        await credits.set_allowance(account, CREDIT, "k")


async def test_limits(credits: Credits, accounts: Accounts, admin: Connection) -> None:
    account = await accounts.open()
    row = await credits.set_allowance(account, LARGEST, "largest", rollover_cap=LARGEST)
    assert row.balance.monthly == LARGEST
    await credits.set_allowance(account, 0, "none", rollover_cap=0)
    for n in range(8):
        await credits.issue_grant(account, LARGEST_GRANT, "top_up", f"{n}")
    await credits.issue_grant(account, LARGEST_GRANT - 2 * LARGEST, "top_up", "8")
    # Room for one more block; what was taken back makes none.
    row = await credits.set_allowance(account, -1, "block")
    assert row.balance.monthly == LARGEST
    await credits.set_allowance(account, 0, "taken back")
    assert (await stored(admin, account))["granted_total"] == 9 * LARGEST_GRANT
    for allowance in (-1, 1):
        async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST_GRANT}):
            await credits.set_allowance(account, allowance, "k")


@pytest.mark.parametrize("takes_effect", ["now", "period_end"])
async def test_replay_changes_nothing_again(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock, takes_effect: str
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    wanted: dict[str, Any] = {"takes_effect": takes_effect, "rollover_cap": CREDIT}
    first = await credits.set_allowance(account, 150 * CREDIT, "k", **wanted)
    before = await accounts.snapshot()
    again = await credits.set_allowance(account, 150 * CREDIT, "k", **wanted, reason="again")
    assert again == replace(first, replayed=True, version_before=first.version)
    assert await accounts.snapshot() == before

    # Also when it has long been done and undone.
    await clock.set(PERIOD_END)
    last = await credits.set_allowance(account, 20 * CREDIT, "k2")
    before = await accounts.snapshot()
    again = await credits.set_allowance(account, 150 * CREDIT, "k", **wanted)
    assert again == replace(first, replayed=True, version_before=last.version, balance=last.balance)
    assert await accounts.snapshot() == before
    assert (await grants(admin, account))[-1][0] == "plan_allocation"


async def test_same_key_for_another_allowance(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    wanted: dict[str, Any] = {"period_grant": 150 * CREDIT, "funded_until": PERIOD_END}
    await credits.set_allowance(account, idempotency_key="k", **wanted)
    for changed in (
        {"period_grant": 151 * CREDIT},
        {"takes_effect": "period_end"},
        {"rollover_cap": 0},
        {"funded_until": PERIOD_END + DAY},
        {"funded_until": None},
    ):
        arguments: dict[str, Any] = wanted | dict(changed)
        async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
            await credits.set_allowance(account, idempotency_key="k", **arguments)
