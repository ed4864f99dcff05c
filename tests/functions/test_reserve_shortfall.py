"""credits.reserve: overdraft, what is overdue, and accounts without a limit."""

from datetime import timedelta

from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import (
    LARGEST,
    NOW,
    PERIOD_END,
    balance,
    figures,
    ledger,
    refused,
    reservation,
    versions,
)
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

# What an unlimited account is granted at a time: a thousand million credits.
BLOCK = 10**15


async def test_reserving_beyond_available_raises_overage_up_to_the_overdraft_limit(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, overdraft=5)
    row = await credits.reserve(account, ReserveRequest("k", 15 * CREDIT))
    assert row.balance == balance(
        account,
        3,
        reserved=15 * CREDIT,
        overage=5 * CREDIT,
        overdraft_limit=5 * CREDIT,
        granted=10 * CREDIT,
        bonus=10 * CREDIT,
        remaining=10 * CREDIT,
        total=10 * CREDIT,
    )
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("k2", 1))


async def test_the_overdraft_limit_counts_as_spendable_and_not_a_micro_credit_more(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    await credits.reserve(account, ReserveRequest("k", 12 * CREDIT))
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": 3 * CREDIT + 1, "spendable": 3 * CREDIT, "shortfall": 1},
    ):
        await credits.reserve(account, ReserveRequest("k2", 3 * CREDIT + 1))
    row = await credits.reserve(account, ReserveRequest("k2", 3 * CREDIT))
    assert figures(row.balance) == (0, 15 * CREDIT, 5 * CREDIT)


async def test_debt_above_a_lowered_limit_leaves_nothing_to_spend_and_never_less(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    await credits.reserve(account, ReserveRequest("k", 15 * CREDIT))
    lowered = await credits.set_limits(account, "lower", overdraft_limit=2 * CREDIT)
    assert lowered.balance.spendable == 0
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": CREDIT, "spendable": 0, "shortfall": CREDIT},
    ):
        await credits.reserve(account, ReserveRequest("k2", CREDIT))


async def test_a_grant_pays_overage_first(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10, overdraft=5)
    await credits.reserve(account, ReserveRequest("k", 15 * CREDIT))
    part = await credits.issue_grant(account, 3 * CREDIT, "top_up", "a")
    rest = await credits.issue_grant(account, 3 * CREDIT, "top_up", "b")
    assert figures(part.balance) == (0, 15 * CREDIT, 2 * CREDIT)
    assert figures(rest.balance) == (CREDIT, 15 * CREDIT, 0)


# What is overdue.


async def test_a_reserve_that_falls_short_first_expires_what_is_overdue(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = await credits.reserve(account, ReserveRequest("late", 4 * CREDIT, 60))
    open_still = await credits.reserve(account, ReserveRequest("open", 5 * CREDIT, 61))
    await clock.advance(timedelta(seconds=60))
    row = await credits.reserve(account, ReserveRequest("k", 5 * CREDIT))
    # One version for the expiry, one for the new reservation.
    assert (row.version_before, row.version) == (4, 6)
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    stored = await reservation(admin, late.reservation_id)
    assert (stored["status"], stored["closed_version"]) == ("expired", 5)
    assert stored["closed_at"] == NOW + timedelta(seconds=60)
    assert (await reservation(admin, open_still.reservation_id))["status"] == "pending"
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6]


async def test_a_reserve_that_does_not_fall_short_leaves_the_overdue_to_the_sweep(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = await credits.reserve(account, ReserveRequest("late", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    row = await credits.reserve(account, ReserveRequest("k", 6 * CREDIT))
    assert (row.version_before, row.version) == (3, 4)
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    assert (await reservation(admin, late.reservation_id))["status"] == "pending"


async def test_the_overdraft_is_spent_before_anything_overdue_is_looked_for(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10, overdraft=5)
    late = await credits.reserve(account, ReserveRequest("late", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    row = await credits.reserve(account, ReserveRequest("k", 11 * CREDIT))
    assert figures(row.balance) == (0, 15 * CREDIT, 5 * CREDIT)
    assert (await reservation(admin, late.reservation_id))["status"] == "pending"


async def test_what_was_overdue_stays_expired_though_the_reserve_is_refused(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    late = await credits.reserve(account, ReserveRequest("late", 4 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60))
    [row] = await credits.reserve_set(account, [ReserveRequest("k", 11 * CREDIT)])
    assert (row.outcome, row.facts) == (
        "INSUFFICIENT_CREDITS",
        {"required": 11 * CREDIT, "spendable": 10 * CREDIT, "shortfall": CREDIT},
    )
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert (await reservation(admin, late.reservation_id))["status"] == "expired"
    assert await versions(admin, account) == [1, 2, 3, 4]


async def test_a_reservation_is_overdue_at_its_time_and_not_before(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await credits.reserve(account, ReserveRequest("late", 10 * CREDIT, 60))
    await clock.advance(timedelta(seconds=60, microseconds=-1))
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("k", 1))
    await clock.advance(timedelta(microseconds=1))
    row = await credits.reserve(account, ReserveRequest("k", 1))
    assert figures(row.balance) == (10 * CREDIT - 1, 1, 0)


async def test_time_never_runs_backwards_for_an_account(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    await clock.set(NOW - timedelta(hours=1))
    row = await credits.reserve(account, ReserveRequest("k", CREDIT, 60))
    assert (await reservation(admin, row.reservation_id))["opened_at"] == NOW
    assert row.expires_at == NOW + timedelta(seconds=60)


# Accounts without a limit.


async def test_an_unlimited_account_is_never_refused_not_even_beyond_its_block(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    opened = await accounts.balance(account)
    assert (opened.available, opened.period_grant, opened.balance_version) == (BLOCK, -1, 2)
    whole = await credits.reserve(account, ReserveRequest("whole", BLOCK))
    assert (figures(whole.balance), whole.version) == ((0, BLOCK, 0), 3)
    # Another block follows, under a version of its own before the reservation's.
    beyond = await credits.reserve(account, ReserveRequest("beyond", CREDIT))
    assert (beyond.version_before, beyond.version) == (3, 5)
    assert figures(beyond.balance) == (BLOCK - CREDIT, BLOCK + CREDIT, 0)
    [block] = await ledger(admin, account, after=3)
    assert (block["version"], block["type"], block["operation"], block["amount"]) == (
        4,
        "plan_allocation",
        "replenish",
        BLOCK,
    )
    assert await versions(admin, account) == [1, 2, 3, 4, 5]


async def test_an_unlimited_account_may_reserve_the_largest_amount(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    row = await credits.reserve(account, ReserveRequest("k", LARGEST))
    # The block granted is as large as the request; the first one is left over.
    assert figures(row.balance) == (BLOCK, LARGEST, 0)


async def test_an_unlimited_account_in_debt_is_granted_its_debt_as_well(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(allowance=-1)
    first = await credits.reserve(account, ReserveRequest("k", BLOCK))
    await credits.settle(account, SettleRequest(first.reservation_id, 2 * BLOCK))
    assert figures(await accounts.balance(account)) == (0, 0, BLOCK)
    row = await credits.reserve(account, ReserveRequest("k2", BLOCK))
    assert figures(row.balance) == (0, BLOCK, 0)


async def test_an_unlimited_account_expires_what_is_overdue_before_it_is_granted_more(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    await credits.reserve(account, ReserveRequest("late", BLOCK, 60))
    await clock.advance(timedelta(seconds=60))
    row = await credits.reserve(account, ReserveRequest("k", CREDIT))
    assert figures(row.balance) == (BLOCK - CREDIT, CREDIT, 0)
    assert await ledger(admin, account, after=3) == []


async def test_an_unlimited_account_whose_period_is_not_paid_for_is_granted_nothing(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=-1)
    await credits.set_allowance(account, -1, "end", funded_until=PERIOD_END)
    await clock.set(PERIOD_END)
    await credits.catch_up(account)
    async with refused(
        accounts, "INSUFFICIENT_CREDITS", {"required": 1, "spendable": 0, "shortfall": 1}
    ):
        await credits.reserve(account, ReserveRequest("k", 1))


# What came due.


async def test_a_reserve_works_what_has_come_due_before_it_decides(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await credits.deduct(account, 8 * CREDIT, "d")
    await clock.set(PERIOD_END)
    row = await credits.reserve(account, ReserveRequest("k", 10 * CREDIT))
    # The old month's rest expires, the period rolls, the new month is granted.
    assert (row.version_before, row.version) == (3, 7)
    assert figures(row.balance) == (0, 10 * CREDIT, 0)
    assert await versions(admin, account) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_block_for_an_account_without_limit_pays_its_debt_as_well(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(allowance=-1)
    held = await credits.reserve(account, ReserveRequest("all", BLOCK))
    await credits.settle(account, SettleRequest(held.reservation_id, BLOCK + BLOCK // 2))
    row = await credits.reserve(account, ReserveRequest("more", 2 * BLOCK))
    assert figures(row.balance) == (0, 2 * BLOCK, 0)
