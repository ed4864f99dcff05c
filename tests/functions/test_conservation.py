"""Whatever is done in whatever order: nothing is made, nothing is lost, no version is missing."""

from typing import Any

import pytest
from asyncpg import Record
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from app.credits import Credits
from db.driver import Connection
from tests.functions.books import NOW, versions
from tests.functions.grants import moves
from tests.functions.walks import Walk, plan
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

# Steps that move the clock, for all at once.
TIME = {"wait", "leap", "back"}

# What the grants and the open reservations of an account come to.
SUMS = """
select
    coalesce(sum(g.remaining) filter (where g.pool = 'monthly'), 0)::bigint as monthly,
    coalesce(sum(g.remaining) filter (where g.pool = 'bonus'), 0)::bigint as bonus,
    coalesce(sum(g.remaining) filter (where g.state = 'lapsed'), 0)::bigint as lapsed,
    coalesce(sum(g.remaining) filter (where g.state = 'live'), 0)::bigint as live,
    (
        select coalesce(sum(r.amount), 0)::bigint
        from credits.reservations as r
        where r.account_id = $1 and r.status = 'pending'
    ) as reserved
from credits.grants as g
where g.account_id = $1 and g.state in ('live', 'lapsed')
"""


async def assert_books_balance(
    walk: Walk, accounts: Accounts, admin: Connection, done: list[Any]
) -> None:
    """Compare an account's row with the rows that it sums up."""
    balance = await accounts.balance(walk.account)
    sums = await admin.fetchrow(SUMS, walk.account)
    row = await admin.fetchrow("select * from credits.accounts where account_id = $1", walk.account)
    assert sums is not None
    assert row is not None
    assert (balance.monthly, balance.bonus) == (sums["monthly"], sums["bonus"]), done
    assert balance.granted == sums["monthly"] + sums["bonus"], done
    assert balance.reserved == sums["reserved"], done
    assert row["lapsed"] == sums["lapsed"], done
    # Whoever owes for work that is done has no grant left that could have paid for it.
    owed = balance.granted + balance.overage - balance.available - balance.reserved
    assert owed == 0 or sums["live"] == 0, done
    assert await versions(admin, walk.account) == list(range(1, balance.balance_version + 1)), done


# One database for all; the same two hundred steps each time. The named seeds are walks on
# which grants lapse while reservations hold them.
@settings(
    max_examples=7,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
@example(seed=65)
@example(seed=32)
@example(seed=14361)
async def test_nothing_is_made_or_lost_in_any_order(
    credits: Credits,
    accounts: Accounts,
    admin: Connection,
    clock: Clock,
    seed: int,
) -> None:
    await clock.set(NOW)
    account = await accounts.open(30, allowance=40, overdraft=10, rollover_cap=15 * CREDIT)
    walk = Walk(credits, clock, account)
    steps = plan(seed)
    for n, (operation, amount, choice) in enumerate(steps):
        await walk.step(operation, amount, choice, f"k{n}")
        await assert_books_balance(walk, accounts, admin, steps[: n + 1])
    # What is never an answer to one caller alone.
    assert not walk.refusals & {"BUSY", "BALANCE_NOT_FOUND", "BALANCE_LIMIT"}
    dates = [at for _, _, at in await moves(admin, account)]
    assert dates == sorted(dates)
    assert await credits.audit(account) == []


@pytest.mark.parametrize("seed", range(12))
async def test_a_set_does_what_its_requests_do_one_by_one(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock, seed: int
) -> None:
    await clock.set(NOW)
    terms: dict[str, Any] = {"allowance": 40, "overdraft": 10, "rollover_cap": 15 * CREDIT}
    walks = [
        Walk(credits, clock, await accounts.open(30, **terms), is_split=split)
        for split in (False, True)
    ]
    for n, (operation, amount, choice) in enumerate(plan(seed)):
        for walk in walks[: 1 if operation in TIME else 2]:
            await walk.step(operation, amount, choice, f"k{n}")
        whole, split = [dict(await _sums(admin, walk)) for walk in walks]
        assert whole == split, (n, operation, amount, choice)
    assert walks[0].refusals == walks[1].refusals


async def _sums(admin: Connection, walk: Walk) -> Record:
    # Versions may differ: a set that closes several reservations looks once what lapses.
    row = await admin.fetchrow(
        "select available, reserved, overage, lapsed, monthly, bonus, granted_total, spent_total,"
        " expired_total, clawed_back_total, level from credits.accounts where account_id = $1",
        walk.account,
    )
    assert row is not None
    return row
