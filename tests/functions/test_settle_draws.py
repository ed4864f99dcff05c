"""credits.settle: which grants pay, in which order."""

from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

from app.credits import Credits, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures, ledger
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

DAY = timedelta(days=1)

# In the order in which they are drawn: priority, then earliest expiry with none last,
# then promotional before paid.
IN_ORDER: dict[str, dict[str, Any]] = {
    "first by priority": {"category": "paid", "priority": 10},
    "soonest promotion": {"category": "promotional", "expires_at": NOW + DAY},
    "soonest paid": {"category": "paid", "expires_at": NOW + DAY},
    "later promotion": {"category": "promotional", "expires_at": NOW + 2 * DAY},
    "endless promotion": {"category": "promotional"},
    "endless paid": {"category": "paid"},
    "last by priority": {"category": "promotional", "priority": 90, "expires_at": NOW + DAY},
}


async def give(credits: Credits, account: UUID, key: str, **terms: Any) -> UUID:
    """Give one credit."""
    row = await credits.issue_grant(account, CREDIT, "promotional", key, **terms)
    return row.grant_id


async def spend(credits: Credits, account: UUID, amount: int, key: str = "k") -> None:
    reserved = await credits.reserve(account, ReserveRequest(key, amount))
    await credits.settle(account, SettleRequest(reserved.reservation_id, amount))


async def last_drawn(admin: Connection, account: UUID) -> list[tuple[UUID, int]]:
    """Return the grants and amounts that the newest ledger row drew, in its order."""
    entry = (await ledger(admin, account))[-1]
    return list(zip(entry["drawn_grant_ids"], entry["drawn_amounts"], strict=True))


async def remaining(admin: Connection, account: UUID) -> dict[UUID, tuple[int, str]]:
    rows = await admin.fetch(
        "select id, remaining, state from credits.grants where account_id = $1", account
    )
    return {row["id"]: (row["remaining"], row["state"]) for row in rows}


async def test_grants_are_drawn_by_priority_expiry_and_category(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    # Given in the opposite order, so that age would draw them the other way round.
    given = {
        name: await give(credits, account, name, **IN_ORDER[name]) for name in reversed(IN_ORDER)
    }
    await spend(credits, account, 6 * CREDIT + CREDIT // 4)
    drawn = await last_drawn(admin, account)
    names = {grant_id: name for name, grant_id in given.items()}
    assert [names[grant_id] for grant_id, _ in drawn] == list(IN_ORDER)
    assert [amount for _, amount in drawn] == [CREDIT] * 6 + [CREDIT // 4]
    assert await remaining(admin, account) == {
        grant_id: (CREDIT - CREDIT // 4, "live") if name == "last by priority" else (0, "closed")
        for name, grant_id in given.items()
    }


async def test_the_order_in_which_grants_were_given_does_not_matter(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    for order in permutations(("soonest promotion", "soonest paid", "endless promotion")):
        account = await accounts.open()
        given = {name: await give(credits, account, name, **IN_ORDER[name]) for name in order}
        await spend(credits, account, 2 * CREDIT + 1)
        assert await last_drawn(admin, account) == [
            (given["soonest promotion"], CREDIT),
            (given["soonest paid"], CREDIT),
            (given["endless promotion"], 1),
        ]


async def test_of_equal_grants_the_oldest_is_drawn_first(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    first = await give(credits, account, "first")
    second = await give(credits, account, "second")
    # Ids rise with time as ages do: only a changed age can tell the two apart.
    await admin.execute(
        "update credits.grants set created_at = created_at - interval '1 second' where id = $1",
        second,
    )
    await spend(credits, account, CREDIT + 1)
    assert await last_drawn(admin, account) == [(second, CREDIT), (first, 1)]


async def test_of_grants_of_the_same_moment_the_lower_id_is_drawn_first(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    given = sorted([await give(credits, account, f"g{n}") for n in range(4)])
    await spend(credits, account, 3 * CREDIT + 1)
    assert await last_drawn(admin, account) == [
        (given[0], CREDIT),
        (given[1], CREDIT),
        (given[2], CREDIT),
        (given[3], 1),
    ]


async def test_the_month_is_drawn_before_what_was_bought(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(10, allowance=10)
    await spend(credits, account, 4 * CREDIT, "month")
    within = await accounts.balance(account)
    assert (within.monthly, within.bonus) == (6 * CREDIT, 10 * CREDIT)
    await spend(credits, account, 8 * CREDIT, "both")
    across = await accounts.balance(account)
    assert (across.monthly, across.bonus, across.granted) == (0, 8 * CREDIT, 8 * CREDIT)
    assert [amount for _, amount in await last_drawn(admin, account)] == [6 * CREDIT, 2 * CREDIT]


async def test_settles_of_a_set_draw_one_after_the_other(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    one = await give(credits, account, "one", expires_at=NOW + DAY)
    two = await give(credits, account, "two", expires_at=NOW + 2 * DAY)
    three = await give(credits, account, "three")
    half = CREDIT // 2
    rows = await credits.reserve_set(
        account, [ReserveRequest(f"k{n}", amount) for n, amount in enumerate((half, 1, 1, 1))]
    )
    ids = [row.reservation_id for row in rows]
    amounts = (half, CREDIT, 0, 3 * CREDIT)
    await credits.settle_set(
        account,
        [SettleRequest(each, amount) for each, amount in zip(ids, amounts, strict=True)],
    )
    assert [
        (e["reservation_id"], e["drawn_grant_ids"], e["drawn_amounts"])
        for e in (await ledger(admin, account))[3:]
    ] == [
        (ids[0], [one], [half]),
        (ids[1], [one, two], [half, half]),
        # The rest of the second and all of the third; what is beyond is drawn from nothing.
        (ids[3], [two, three], [half, CREDIT]),
    ]
    assert figures(await accounts.balance(account)) == (0, 0, 3 * half)
    assert await remaining(admin, account) == {
        one: (0, "closed"),
        two: (0, "closed"),
        three: (0, "closed"),
    }


async def test_a_charge_that_nothing_covers_draws_from_nothing(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    account = await accounts.open(overdraft=5)
    await spend(credits, account, 4 * CREDIT)
    [entry] = await ledger(admin, account)
    assert (entry["amount"], entry["drawn_grant_ids"], entry["drawn_amounts"]) == (
        -4 * CREDIT,
        None,
        None,
    )


async def test_a_grant_of_the_future_is_not_drawn(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    future = await give(credits, account, "future", priority=0, effective_at=NOW + DAY)
    today = await give(credits, account, "today")
    await spend(credits, account, CREDIT // 2, "before")
    assert await last_drawn(admin, account) == [(today, CREDIT // 2)]
    await clock.set(NOW + DAY)
    await spend(credits, account, CREDIT // 2, "after")
    assert await last_drawn(admin, account) == [(future, CREDIT // 2)]


# Grants that ended under a reservation.


async def held_over(credits: Credits, accounts: Accounts, clock: Clock) -> tuple[UUID, UUID]:
    """Reserve 4 of a month's 10 credits for a day, an hour before the month ends."""
    await clock.set(NOW)
    account = await accounts.open(allowance=10)
    await clock.set(PERIOD_END - timedelta(hours=1))
    row = await credits.reserve(account, ReserveRequest("held", 4 * CREDIT, 86_400))
    await clock.set(PERIOD_END)
    await credits.catch_up(account)
    return account, row.reservation_id


async def months(admin: Connection, account: UUID) -> list[tuple[int, str]]:
    rows = await admin.fetch(
        "select remaining, state from credits.grants where account_id = $1 order by effective_at",
        account,
    )
    return [tuple(row) for row in rows]


async def test_a_reservation_draws_first_what_was_kept_for_it(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    account, held = await held_over(credits, accounts, clock)
    assert await months(admin, account) == [(4 * CREDIT, "lapsed"), (10 * CREDIT, "live")]
    row = await credits.settle(account, SettleRequest(held, 6 * CREDIT))
    assert [amount for _, amount in await last_drawn(admin, account)] == [4 * CREDIT, 2 * CREDIT]
    assert await months(admin, account) == [(0, "closed"), (8 * CREDIT, "live")]
    assert figures(row.balance) == (8 * CREDIT, 0, 0)


async def test_what_a_settle_leaves_of_an_ended_month_expires_at_once(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    account, held = await held_over(credits, accounts, clock)
    row = await credits.settle(account, SettleRequest(held, CREDIT))
    assert row.balance is not None
    # The settle's version, then one for what expired after it.
    assert (row.version_before, row.version, row.balance.balance_version) == (6, 7, 8)
    assert figures(row.balance) == (10 * CREDIT, 0, 0)
    assert await months(admin, account) == [(0, "closed"), (10 * CREDIT, "live")]
    assert [(e["type"], e["amount"]) for e in await ledger(admin, account, after=6)] == [
        ("consumption", -CREDIT),
        ("expiration", -3 * CREDIT),
    ]


async def test_what_was_kept_for_one_is_not_drawn_by_another(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    account, _ = await held_over(credits, accounts, clock)
    await spend(credits, account, 10 * CREDIT)
    assert [amount for _, amount in await last_drawn(admin, account)] == [10 * CREDIT]
    assert await months(admin, account) == [(4 * CREDIT, "lapsed"), (0, "closed")]
    assert figures(await accounts.balance(account)) == (0, 4 * CREDIT, 0)


async def test_a_settle_after_expiry_draws_from_the_present_month(
    credits: Credits, accounts: Accounts, clock: Clock, admin: Connection
) -> None:
    account, held = await held_over(credits, accounts, clock)
    await clock.advance(timedelta(hours=24))
    await credits.expire_reservations(account)
    assert await months(admin, account) == [(0, "closed"), (10 * CREDIT, "live")]
    row = await credits.settle(account, SettleRequest(held, 4 * CREDIT))
    assert (row.late, figures(row.balance)) == (True, (6 * CREDIT, 0, 0))
    assert await months(admin, account) == [(0, "closed"), (6 * CREDIT, "live")]
