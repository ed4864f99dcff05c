"""credits.set_allowance: changes of plan, now and at the period's end."""

from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from app.credits.rows import Actor, AllowanceSet
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, balance, figures, ledger, refused
from tests.functions.grants import changes, grants, moves, stored, top_up
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

UNLIMITED_BLOCK = 1_000_000_000
DAY = timedelta(days=1)


async def allow(credits: Credits, account: UUID, allowance: int, key: str) -> AllowanceSet:
    """Set an allowance of whole credits at once; -1 is unlimited."""
    return await credits.set_allowance(
        account, allowance * CREDIT if allowance > 0 else allowance, key
    )


async def test_more_is_granted_by_the_difference(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 80 * CREDIT, "spent")
    await clock.advance(DAY)
    row = await credits.set_allowance(
        account,
        150 * CREDIT,
        "k",
        rollover_cap=10 * CREDIT,
        funded_until=NOW + 300 * DAY,
        reason="upgrade",
        actor=Actor("admin", "a-1", "Admin"),
    )
    assert row == AllowanceSet(
        takes_effect_at=NOW + DAY,
        replayed=False,
        version=5,
        version_before=3,
        balance=balance(
            account,
            5,
            available=70 * CREDIT,
            spendable=70 * CREDIT,
            granted=70 * CREDIT,
            monthly=70 * CREDIT,
            used_this_period=80 * CREDIT,
            remaining=70 * CREDIT,
            total=150 * CREDIT,
            usage_basis_points=5333,
            period_grant=150 * CREDIT,
        ),
    )
    assert await accounts.balance(account) == row.balance
    assert await grants(admin, account) == [
        ("plan_allocation", "live", 100 * CREDIT, 20 * CREDIT),
        ("plan_change", "live", 50 * CREDIT, 50 * CREDIT),
    ]
    given = await admin.fetchrow("select * from credits.grants where source = 'plan_change'")
    assert given is not None
    assert (given["operation"], given["category"], given["pool"], given["priority"]) == (
        *("set_allowance", "paid", "monthly"),
        10,
    )
    assert (given["effective_at"], given["expires_at"]) == (NOW + DAY, PERIOD_END)
    assert (given["reason"], given["actor_id"]) == ("upgrade", "a-1")
    terms = {
        "periodGrant": 100 * CREDIT,
        "rolloverCap": 0,
        "pendingPeriodGrant": None,
        "pendingRolloverCap": None,
        "pendingAt": None,
        "fundedUntil": None,
        "overdraftLimit": 0,
        "lowBalancePercent": 20,
        "minimumCharge": 250_000,
    }
    [change] = await changes(admin, account, "set_allowance")
    kept = dict(change)
    assert kept.pop("fingerprint") is not None
    after = kept.pop("after")
    assert datetime.fromisoformat(after.pop("fundedUntil")) == NOW + 300 * DAY
    assert after | {"fundedUntil": None} == terms | {
        "periodGrant": 150 * CREDIT,
        "rolloverCap": 10 * CREDIT,
    }
    assert kept == {
        "account_id": account,
        "version": 5,
        "operation": "set_allowance",
        "before": terms,
        "reason": "upgrade",
        "idempotency_key": "k",
        "actor_kind": "admin",
        "actor_id": "a-1",
        "actor_label": "Admin",
        "created_at": NOW + DAY,
    }


@pytest.mark.parametrize(
    ("used", "allowance", "left", "taken"),
    [(30, 50, 20, 50), (0, 50, 50, 50), (80, 50, 0, 20), (30, 0, 0, 70), (50, 50, 0, 50)],
)
async def test_less_takes_what_is_left_above_it(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    used: int,
    allowance: int,
    left: int,
    taken: int,
) -> None:
    account = await accounts.open(5, allowance=100)
    if used:
        await credits.deduct(account, used * CREDIT, "spent")
    before = await accounts.balance(account)
    row = await allow(credits, account, allowance, "k")
    # Used credits stay used, and what was bought is not touched.
    assert (row.balance.monthly, row.balance.bonus) == (left * CREDIT, 5 * CREDIT)
    assert figures(row.balance) == ((left + 5) * CREDIT, 0, 0)
    assert row.balance.used_this_period == used * CREDIT
    [entry] = await ledger(admin, account, before.balance_version)
    assert (entry["type"], entry["operation"], entry["amount"]) == (
        *("plan_change", "set_allowance"),
        -taken * CREDIT,
    )
    assert (await stored(admin, account))["clawed_back_total"] == taken * CREDIT


async def test_nothing_is_taken_where_all_is_spent(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100, overdraft=20)
    spent = await credits.deduct(account, 110 * CREDIT, "spent")
    row = await allow(credits, account, 10, "k")
    assert figures(row.balance) == (0, 0, 10 * CREDIT)
    assert await ledger(admin, account, spent.version) == []
    # Back up: the difference was never taken, so it is not given either.
    row = await allow(credits, account, 100, "k2")
    assert figures(row.balance) == (0, 0, 10 * CREDIT)
    assert await ledger(admin, account, spent.version) == []


async def test_more_pays_debt_first(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=100, overdraft=20)
    await credits.deduct(account, 110 * CREDIT, "spent")
    row = await allow(credits, account, 130, "k")
    assert figures(row.balance) == (20 * CREDIT, 0, 0)
    assert row.balance.monthly == 20 * CREDIT


async def test_first_allowance_is_an_allocation_and_less_is_taken_newest_first(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open()
    for n, allowance in enumerate((0, 100, 130, 160, 110)):
        row = await allow(credits, account, allowance, f"{n}")
        assert row.balance.monthly == allowance * CREDIT
    assert await grants(admin, account) == [
        ("plan_allocation", "live", 100 * CREDIT, 100 * CREDIT),
        ("plan_change", "live", 30 * CREDIT, 10 * CREDIT),
        ("plan_change", "closed", 30 * CREDIT, 0),
    ]


async def test_reservations_keep_what_they_hold(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=100)
    held = await credits.reserve(account, ReserveRequest("r", 60 * CREDIT))
    row = await allow(credits, account, 30, "down")
    assert figures(row.balance) == (0, 60 * CREDIT, 0)
    # What was held comes back; nothing is gained by going up and down meanwhile.
    row = await allow(credits, account, 100, "up")
    assert figures(row.balance) == (40 * CREDIT, 60 * CREDIT, 0)
    await allow(credits, account, 30, "down again")
    released = await credits.release(account, ReleaseRequest(held.reservation_id))
    assert figures(released.balance) == (60 * CREDIT, 0, 0)
    row = await allow(credits, account, 29, "down once more")
    assert figures(row.balance) == (29 * CREDIT, 0, 0)
    row = await allow(credits, account, 100, "up again")
    assert figures(row.balance) == (100 * CREDIT, 0, 0)


async def test_reservation_beyond_the_allowance_settles_after_a_downgrade(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, allowance=100)
    held = await credits.reserve(account, ReserveRequest("r", 105 * CREDIT))
    row = await allow(credits, account, 0, "down")
    # All of the plan's grant is held, and half of the top-up.
    assert figures(row.balance) == (5 * CREDIT, 105 * CREDIT, 0)
    done = await credits.settle(account, SettleRequest(held.reservation_id, 105 * CREDIT))
    assert figures(done.balance) == (5 * CREDIT, 0, 0)
    assert done.balance is not None
    assert (done.balance.monthly, done.balance.bonus) == (0, 5 * CREDIT)


async def test_up_and_down_without_end_gains_nothing(credits: Credits, accounts: Accounts) -> None:
    # Whatever the way to it, an allowance leaves itself less what was used of it.
    account = await accounts.open(7, allowance=100)
    chance = Random(5)
    used = 0
    for n in range(40):
        allowance = chance.choice([-1, 0, 1, 30, 99, 100, 101, 250])
        row = await allow(credits, account, allowance, f"{n}")
        target = UNLIMITED_BLOCK if allowance == -1 else allowance
        left = max(0, target - used)
        assert (row.balance.monthly, row.balance.bonus) == (left * CREDIT, 7 * CREDIT)
        assert row.balance.available == (left + 7) * CREDIT
        if left:
            part = chance.randint(1, min(left, 20))
            await credits.deduct(account, part * CREDIT, f"{n}")
            used += part


async def test_unlimited_to_finite_and_back(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=-1)
    assert (await accounts.balance(account)).monthly == UNLIMITED_BLOCK * CREDIT
    # Another block follows when one does not last.
    held = await credits.reserve(account, ReserveRequest("r", (UNLIMITED_BLOCK + 5) * CREDIT))
    await credits.settle(
        account, SettleRequest(held.reservation_id, (UNLIMITED_BLOCK + 1) * CREDIT)
    )
    assert [source for source, *_ in await grants(admin, account)] == ["plan_allocation"] * 2
    row = await allow(credits, account, 100, "finite")
    assert figures(row.balance) == (0, 0, 0)
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("no more", 1))
    row = await allow(credits, account, -1, "unlimited")
    again = await credits.reserve(account, ReserveRequest("more", 50 * CREDIT))
    assert again.balance is not None
    assert (again.balance.reserved, again.balance.overage) == (50 * CREDIT, 0)


async def test_same_allowance_under_another_key_grants_nothing_again(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 30 * CREDIT, "spent")
    for n in range(3):
        row = await allow(credits, account, 100, f"{n}")
        assert row.balance.monthly == 70 * CREDIT
    assert len(await grants(admin, account)) == 1


async def test_what_was_voided_stays_voided(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    [plan] = await admin.fetch("select id from credits.grants where account_id = $1", account)
    await credits.void_grant(account, plan["id"], "v", amount=40 * CREDIT)
    assert (await allow(credits, account, 100, "same")).balance.monthly == 60 * CREDIT
    assert (await allow(credits, account, 110, "more")).balance.monthly == 70 * CREDIT


async def test_an_earlier_month_and_other_grants_do_not_count(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, allowance=100, rollover_cap=40 * CREDIT)
    await clock.set(PERIOD_END)
    await top_up(credits, account, 10, "more")
    row = await allow(credits, account, 60, "down")
    # 60 of this month, 40 rolled over from the last, 20 bought.
    assert (row.balance.monthly, row.balance.bonus) == (100 * CREDIT, 20 * CREDIT)


async def test_at_the_period_s_end(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    before = await accounts.balance(account)
    row = await credits.set_allowance(
        account, 40 * CREDIT, "k", takes_effect="period_end", rollover_cap=25 * CREDIT
    )
    assert row.takes_effect_at == PERIOD_END
    assert (row.version, row.version_before) == (3, 2)
    assert row.balance == balance(
        account,
        3,
        available=100 * CREDIT,
        spendable=100 * CREDIT,
        granted=100 * CREDIT,
        monthly=100 * CREDIT,
        remaining=100 * CREDIT,
        total=100 * CREDIT,
        period_grant=100 * CREDIT,
    )
    kept = await stored(admin, account)
    assert (kept["pending_period_grant"], kept["pending_rollover_cap"], kept["pending_at"]) == (
        *(40 * CREDIT, 25 * CREDIT),
        PERIOD_END,
    )
    await clock.set(PERIOD_END - timedelta(microseconds=1))
    assert (await credits.check_balance(account)).balance == row.balance
    assert before.available == row.balance.available

    await clock.set(PERIOD_END)
    now = (await credits.check_balance(account)).balance
    assert (now.period_grant, now.monthly) == (40 * CREDIT, 65 * CREDIT)
    assert await moves(admin, account, row.version) == [
        ("expiration", -100 * CREDIT, PERIOD_END),
        ("rollover", 25 * CREDIT, PERIOD_END),
        ("plan_allocation", 40 * CREDIT, PERIOD_END),
    ]
    kept = await stored(admin, account)
    assert (kept["pending_period_grant"], kept["pending_rollover_cap"], kept["pending_at"]) == (
        *(None, None),
        None,
    )
    [applied] = await changes(admin, account, "apply_pending_allowance")
    assert applied["created_at"] == PERIOD_END
    assert (applied["before"]["periodGrant"], applied["after"]["periodGrant"]) == (
        100 * CREDIT,
        40 * CREDIT,
    )
    assert (applied["before"]["pendingPeriodGrant"], applied["after"]["pendingPeriodGrant"]) == (
        40 * CREDIT,
        None,
    )


async def test_the_last_word_before_the_period_s_end_counts(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    one, two = await accounts.open(allowance=100), await accounts.open(allowance=100)
    await credits.set_allowance(one, 40 * CREDIT, "a", takes_effect="period_end")
    await credits.set_allowance(one, 60 * CREDIT, "b", takes_effect="period_end")
    # What is set now takes the place of what was to come.
    await credits.set_allowance(two, 40 * CREDIT, "a", takes_effect="period_end")
    await allow(credits, two, 120, "b")
    assert (await stored(admin, two))["pending_at"] is None
    await clock.set(PERIOD_END)
    assert (await credits.catch_up(one)).balance.monthly == 60 * CREDIT
    assert (await credits.catch_up(two)).balance.monthly == 120 * CREDIT
