"""What the outbox tells when an account runs low, and when it runs out."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

LOW = "credits.low_balance"
DEPLETED = "credits.depleted"

# The smallest charge of a policy unless it says otherwise.
MINIMUM = CREDIT // 4


async def told(admin: Connection, account: UUID) -> list[tuple[int, str, dict[str, Any]]]:
    """Return version, type and payload of what was told of an account's thresholds."""
    rows = await admin.fetch(
        "select version, type, payload from events.outbox"
        " where account_id = $1 and type in ($2, $3) order by version",
        account,
        LOW,
        DEPLETED,
    )
    return [tuple(row) for row in rows]


async def test_running_low_is_told_once_at_the_crossing(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 80 * CREDIT, "to the threshold")
    assert await told(admin, account) == []
    await credits.deduct(account, 1, "below")
    await credits.deduct(account, CREDIT, "further below")
    expected = (4, LOW, {"remaining": 20 * CREDIT - 1, "threshold": 20 * CREDIT})
    assert await told(admin, account) == [expected]
    [row] = await admin.fetch("select * from events.outbox where type = $1", LOW)
    assert (row["account_id"], row["created_at"], row["relayed_at"]) == (account, NOW, None)


async def test_running_out_is_told_once_when_less_than_the_smallest_charge_remains(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 90 * CREDIT, "low")
    await credits.deduct(account, 10 * CREDIT - MINIMUM, "to the smallest charge")
    assert [event[1] for event in await told(admin, account)] == [LOW]
    await credits.deduct(account, 1, "below")
    await credits.deduct(account, 1, "further below")
    assert (await told(admin, account))[1:] == [(5, DEPLETED, {"remaining": MINIMUM - 1})]


async def test_who_crosses_both_at_once_is_told_the_worse(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 100 * CREDIT, "all")
    assert await told(admin, account) == [(3, DEPLETED, {"remaining": 0})]


async def test_who_rises_again_is_told_again(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 81 * CREDIT, "low")
    await credits.issue_grant(account, CREDIT, "top_up", "up to the threshold")
    await credits.deduct(account, CREDIT, "low again")
    threshold = {"remaining": 19 * CREDIT, "threshold": 20 * CREDIT}
    assert await told(admin, account) == [(3, LOW, threshold), (5, LOW, threshold)]


async def test_what_rises_without_reaching_the_threshold_is_not_told_again(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 85 * CREDIT, "low")
    await credits.issue_grant(account, CREDIT, "top_up", "still below")
    await credits.deduct(account, CREDIT, "lower")
    assert [event[0] for event in await told(admin, account)] == [3]


async def test_reserved_credits_still_remain(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100, overdraft=10)
    first = await credits.reserve(account, ReserveRequest("k", 110 * CREDIT))
    assert await told(admin, account) == []
    # The charge crosses, under the version of the settle.
    row = await credits.settle(account, SettleRequest(first.reservation_id, 81 * CREDIT))
    assert await told(admin, account) == [
        (row.version, LOW, {"remaining": 19 * CREDIT, "threshold": 20 * CREDIT})
    ]


async def test_a_set_that_crosses_tells_once_where_it_ends(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    rows = await credits.reserve_set(
        account, [ReserveRequest(f"k{n}", 30 * CREDIT) for n in range(3)]
    )
    settled = await credits.settle_set(
        account, [SettleRequest(row.reservation_id, 29 * CREDIT) for row in rows]
    )
    assert await told(admin, account) == [
        (settled[-1].version, LOW, {"remaining": 13 * CREDIT, "threshold": 20 * CREDIT})
    ]


async def test_an_overdraft_is_used_up_before_an_account_has_run_out(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(1, overdraft=5)
    await credits.deduct(account, CREDIT, "all")
    await credits.deduct(account, 5 * CREDIT - MINIMUM, "into debt")
    # Without an allowance there is no share of it to fall below.
    assert await told(admin, account) == []
    await credits.deduct(account, 1, "below")
    await credits.deduct(account, 1, "deeper")
    assert await told(admin, account) == [(5, DEPLETED, {"remaining": MINIMUM - 5 * CREDIT - 1})]


async def test_low_is_told_of_what_remains_without_the_overdraft(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100, overdraft=1_000)
    await credits.deduct(account, 80 * CREDIT + 1, "low")
    await credits.deduct(account, 100 * CREDIT, "into debt")
    assert await told(admin, account) == [
        (3, LOW, {"remaining": 20 * CREDIT - 1, "threshold": 20 * CREDIT})
    ]


async def test_a_lower_overdraft_may_run_an_account_out(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(1, overdraft=5)
    await credits.deduct(account, 3 * CREDIT, "into debt")
    row = await credits.set_limits(account, "less", overdraft_limit=2 * CREDIT)
    assert await told(admin, account) == [(row.version, DEPLETED, {"remaining": -2 * CREDIT})]


async def test_a_threshold_below_the_smallest_charge_is_not_told_after_running_out(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=1)
    # Low would be a fifth of a credit, but a quarter of one is out already.
    await credits.deduct(account, CREDIT - MINIMUM + 1, "out")
    await credits.deduct(account, MINIMUM - 1, "empty")
    assert await told(admin, account) == [(3, DEPLETED, {"remaining": MINIMUM - 1})]


async def test_an_account_set_its_own_share(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.set_limits(account, "half", low_balance_percent=50)
    await credits.deduct(account, 50 * CREDIT, "to the threshold")
    await credits.deduct(account, 1, "below")
    assert await told(admin, account) == [
        (5, LOW, {"remaining": 50 * CREDIT - 1, "threshold": 50 * CREDIT})
    ]


async def test_a_project_sets_the_smallest_charge(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, minimum_charge=2 * CREDIT)
    await credits.deduct(account, 8 * CREDIT, "to it")
    await credits.deduct(account, 1, "below")
    assert await told(admin, account) == [(4, DEPLETED, {"remaining": 2 * CREDIT - 1})]


async def test_an_unlimited_account_never_runs_low(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=-1)
    await credits.deduct(account, (await accounts.balance(account)).available, "all")
    assert figures(await accounts.balance(account)) == (0, 0, 0)
    assert await told(admin, account) == []


async def test_replays_and_refusals_tell_nothing(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    first = await credits.reserve(account, ReserveRequest("k", 90 * CREDIT))
    request = SettleRequest(first.reservation_id, 90 * CREDIT)
    for _ in range(2):
        await credits.settle(account, request)
    await credits.settle_set(account, [request, request._replace(amount=1)])
    assert [event[1] for event in await told(admin, account)] == [LOW]


async def test_credits_that_expire_may_run_an_account_out(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await credits.issue_grant(account, CREDIT, "promotional", "g", expires_at=PERIOD_END)
    await clock.set(PERIOD_END)
    row = await credits.catch_up(account)
    assert await told(admin, account) == [(row.balance.balance_version, DEPLETED, {"remaining": 0})]


async def test_what_happened_before_a_new_month_is_told_though_nobody_looked(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open(allowance=100)
    spent = await credits.deduct(account, 100 * CREDIT, "all")
    await clock.set(PERIOD_END + timedelta(days=1))
    # The month began in between: it is used up in the call that finds it.
    again = await credits.deduct(account, 100 * CREDIT, "all again")
    assert await told(admin, account) == [
        (spent.version, DEPLETED, {"remaining": 0}),
        (again.version, DEPLETED, {"remaining": 0}),
    ]


async def test_what_ran_out_while_nobody_looked_is_told_as_of_then(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    gift = await credits.issue_grant(account, CREDIT, "promotional", "g", expires_at=PERIOD_END)
    await credits.issue_grant(
        account, CREDIT, "top_up", "later", effective_at=PERIOD_END + timedelta(days=1)
    )
    await clock.set(PERIOD_END + timedelta(days=2))
    await credits.catch_up(account)
    assert gift.version == 2
    # It expires, and the period begins; then there is something again.
    assert await told(admin, account) == [(4, DEPLETED, {"remaining": 0})]
    assert (
        await admin.fetchval("select created_at from events.outbox where type = $1", DEPLETED)
        == PERIOD_END
    )


async def test_a_threshold_that_is_raised_above_the_balance_is_told(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(allowance=100)
    await credits.deduct(account, 70 * CREDIT, "most")
    row = await credits.set_limits(account, "k", low_balance_percent=40)
    assert await told(admin, account) == [
        (row.version, LOW, {"remaining": 30 * CREDIT, "threshold": 40 * CREDIT})
    ]
