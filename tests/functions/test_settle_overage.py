"""credits.settle: more than was reserved, and what is absurd."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import LARGEST, NOW, figures, ledger, refused, reservation
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

# The two defaults of a policy: above both, an amount is absurd.
FLOOR = 10_000 * CREDIT
FACTOR = 100


async def opened(credits: Credits, account: UUID, amount: int, key: str = "k") -> UUID:
    return (await credits.reserve(account, ReserveRequest(key, amount, 60))).reservation_id


async def findings(admin: Connection) -> list[tuple[object, ...]]:
    rows = await admin.fetch(
        "select account_id, kind, subject, facts, created_at from credits.findings"
    )
    return [tuple(row) for row in rows]


# More than was reserved.


async def test_more_than_reserved_is_taken_from_available(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account, 4 * CREDIT)
    row = await credits.settle(account, SettleRequest(first, 9 * CREDIT))
    assert (row.amount, row.settled_amount) == (4 * CREDIT, 9 * CREDIT)
    assert figures(row.balance) == (CREDIT, 0, 0)


async def test_what_available_does_not_cover_becomes_overage(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account, 4 * CREDIT)
    row = await credits.settle(account, SettleRequest(first, 12 * CREDIT))
    assert row.balance is not None
    assert figures(row.balance) == (0, 0, 2 * CREDIT)
    assert (row.balance.spendable, row.balance.remaining) == (0, 0)
    assert row.balance.used_this_period == 12 * CREDIT
    # Ten came from the grant, two from nothing: the debt.
    [entry] = await ledger(admin, account, after=2)
    assert (entry["amount"], entry["drawn_amounts"]) == (-12 * CREDIT, [10 * CREDIT])
    assert (entry["available_after"], entry["overage_after"]) == (0, 2 * CREDIT)


async def test_the_overdraft_limit_does_not_stop_a_settle(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=1)
    first = await opened(credits, account, 4 * CREDIT)
    row = await credits.settle(account, SettleRequest(first, 15 * CREDIT))
    assert figures(row.balance) == (0, 0, 5 * CREDIT)
    async with refused(
        accounts,
        "INSUFFICIENT_CREDITS",
        {"required": CREDIT, "spendable": 0, "shortfall": CREDIT},
    ):
        await credits.reserve(account, ReserveRequest("k2", CREDIT))


async def test_overage_of_a_settle_leaves_other_reservations_whole(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account, 4 * CREDIT, "first")
    second = await opened(credits, account, 6 * CREDIT, "second")
    over = await credits.settle(account, SettleRequest(first, 7 * CREDIT))
    assert figures(over.balance) == (0, 6 * CREDIT, 3 * CREDIT)
    # What the second gives back pays the debt of the first.
    row = await credits.settle(account, SettleRequest(second, CREDIT))
    assert figures(row.balance) == (2 * CREDIT, 0, 0)


async def test_what_a_settle_returns_pays_overage_first(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    first = await opened(credits, account, 15 * CREDIT)
    assert figures(await accounts.balance(account)) == (0, 15 * CREDIT, 5 * CREDIT)
    row = await credits.settle(account, SettleRequest(first, 8 * CREDIT))
    assert figures(row.balance) == (2 * CREDIT, 0, 0)


async def test_what_returns_may_pay_a_part_of_the_overage(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, overdraft=5)
    first = await opened(credits, account, 15 * CREDIT)
    row = await credits.settle(account, SettleRequest(first, 12 * CREDIT))
    assert figures(row.balance) == (0, 0, 2 * CREDIT)


# What is absurd.


async def test_the_floor_may_be_settled_and_not_a_micro_credit_more(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    first = await opened(credits, account, CREDIT)
    async with refused(
        accounts,
        "SETTLE_AMOUNT_IMPLAUSIBLE",
        {"reservationId": str(first), "amount": FLOOR + 1, "limit": FLOOR},
    ):
        await credits.settle(account, SettleRequest(first, FLOOR + 1))
    row = await credits.settle(account, SettleRequest(first, FLOOR))
    assert figures(row.balance) == (0, 0, FLOOR - 10 * CREDIT)


async def test_a_hundred_times_the_reserved_may_be_settled_and_not_a_micro_credit_more(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(200)
    reserved = 100 * CREDIT + 1
    first = await opened(credits, account, reserved)
    limit = FACTOR * reserved
    async with refused(
        accounts,
        "SETTLE_AMOUNT_IMPLAUSIBLE",
        {"reservationId": str(first), "amount": limit + 1, "limit": limit},
    ):
        await credits.settle(account, SettleRequest(first, limit + 1))
    row = await credits.settle(account, SettleRequest(first, limit))
    assert figures(row.balance) == (0, 0, limit - 200 * CREDIT)


async def test_an_absurd_settle_is_kept_as_a_finding_once_and_the_reservation_stays(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account, CREDIT)
    for amount in (FLOOR + 1, FLOOR + 1, FLOOR + 2):
        async with refused(
            accounts,
            "SETTLE_AMOUNT_IMPLAUSIBLE",
            {"reservationId": str(first), "amount": amount, "limit": FLOOR},
        ):
            await credits.settle(account, SettleRequest(first, amount))
    assert await findings(admin) == [
        (
            account,
            "settle_amount_implausible",
            str(first),
            {"reservationId": str(first), "amount": FLOOR + 1, "limit": FLOOR},
            NOW,
        )
    ]
    assert (await reservation(admin, first))["status"] == "pending"
    row = await credits.settle(account, SettleRequest(first, CREDIT))
    assert figures(row.balance) == (9 * CREDIT, 0, 0)


async def test_a_late_settle_may_be_absurd_as_well(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(10)
    first = await opened(credits, account, CREDIT)
    await clock.advance(timedelta(seconds=60))
    await credits.expire_reservations(account)
    async with refused(
        accounts,
        "SETTLE_AMOUNT_IMPLAUSIBLE",
        {"reservationId": str(first), "amount": FLOOR + 1, "limit": FLOOR},
    ):
        await credits.settle(account, SettleRequest(first, FLOOR + 1))
    assert (await reservation(admin, first))["status"] == "expired"


async def test_the_policy_of_the_project_changes_the_limit(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, settle_limit_factor=3, settle_limit_floor=2 * CREDIT)
    other = await accounts.open(10)
    first = await opened(credits, account, CREDIT)
    theirs = await opened(credits, other, CREDIT)
    async with refused(
        accounts,
        "SETTLE_AMOUNT_IMPLAUSIBLE",
        {"reservationId": str(first), "amount": 3 * CREDIT + 1, "limit": 3 * CREDIT},
    ):
        await credits.settle(account, SettleRequest(first, 3 * CREDIT + 1))
    mine = await credits.settle(account, SettleRequest(first, 3 * CREDIT))
    assert figures(mine.balance) == (7 * CREDIT, 0, 0)
    # Another project keeps its own.
    row = await credits.settle(other, SettleRequest(theirs, 3 * CREDIT + 1))
    assert figures(row.balance) == (7 * CREDIT - 1, 0, 0)


async def test_a_policy_may_make_all_above_the_reserved_absurd(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10, settle_limit_factor=1, settle_limit_floor=0)
    first = await opened(credits, account, 4 * CREDIT)
    async with refused(
        accounts,
        "SETTLE_AMOUNT_IMPLAUSIBLE",
        {"reservationId": str(first), "amount": 4 * CREDIT + 1, "limit": 4 * CREDIT},
    ):
        await credits.settle(account, SettleRequest(first, 4 * CREDIT + 1))
    row = await credits.settle(account, SettleRequest(first, 4 * CREDIT))
    assert figures(row.balance) == (6 * CREDIT, 0, 0)


@pytest.mark.parametrize("late", [False, True])
async def test_debt_ends_before_sums_overflow(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection, *, late: bool
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    for n in range(9):
        await credits.issue_grant(account, LARGEST, "top_up", f"g{n}")
    held = await opened(credits, account, LARGEST // 10)
    await credits.deduct(account, LARGEST - LARGEST // 10, "one")
    for n in range(2, 10):
        await credits.deduct(account, LARGEST, f"{n}")
    if late:
        # Its credits return, and are spent too.
        await clock.advance(timedelta(seconds=60))
        await credits.expire_reservations(account)
        await credits.deduct(account, LARGEST // 10, "returned")
    # Granted and owed together may be 9.2 * 10^12 credits.
    room = 2 * LARGEST // 10 + (0 if late else LARGEST // 10)
    async with refused(accounts, "BALANCE_LIMIT", {"limit": 9 * LARGEST}):
        await credits.settle(account, SettleRequest(held, room + 1))
    [(_, kind, subject, told, _)] = await findings(admin)
    assert (kind, subject) == ("settle_beyond_limit", str(held))
    assert told == {"limit": 9 * LARGEST, "amount": room + 1}
    row = await credits.settle(account, SettleRequest(held, room))
    assert figures(row.balance) == (0, 0, 2 * LARGEST // 10)


async def test_the_largest_amount_may_be_settled(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=-1)
    # A hundred times this would pass what an amount may be.
    first = await opened(credits, account, LARGEST // 2)
    left = (await accounts.balance(account)).available
    row = await credits.settle(account, SettleRequest(first, LARGEST))
    assert figures(row.balance) == (0, 0, LARGEST // 2 - left)
