"""Accounts with very many grants or reservations: work under the lock stays bounded."""

from datetime import timedelta
from uuid import UUID

from app.credits import Credits, ReserveRequest
from db.driver import Connection
from tests.functions.books import NOW, PERIOD_END, figures, ledger, refused, versions
from tests.functions.grants import grants
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock

HOUR = timedelta(hours=1)
DUE = NOW + HOUR
FULL = {
    "field": "grants",
    "reason": "must be fewer than 1000 that are not used up: give more at once, or with an end",
}


async def give(admin: Connection, account: UUID, count: int, **terms: object) -> None:
    """Issue as many grants of one credit as are asked for."""
    await admin.execute(
        "select credits.issue_grant($1, 1000000, 'promotional', 'g' || n,"
        " p_effective_at => $3, p_expires_at => $4) from generate_series(1, $2) as n",
        account,
        count,
        terms.get("effective_at"),
        terms.get("expires_at"),
    )


async def test_grants_that_end_together_expire_each_with_its_row_but_for_what_is_held(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await give(admin, account, 999, expires_at=DUE)
    held = await credits.reserve(account, ReserveRequest("k", 10 * CREDIT + 1, 86_400))
    await clock.set(DUE)
    row = await credits.catch_up(account)
    # Ten are held whole, of the eleventh a micro-credit: 988 expire whole, and one in part.
    assert figures(row.balance) == (0, 10 * CREDIT + 1, 0)
    expired = await ledger(admin, account, after=held.version or 0)
    assert [entry["amount"] for entry in expired] == [1 - CREDIT] + [-CREDIT] * 988
    first = 989 * CREDIT - 1 - (CREDIT - 1)
    assert [entry["available_after"] for entry in expired] == list(range(first, -1, -CREDIT))
    states = [state for _, state, _, _ in await grants(admin, account)]
    assert states == ["lapsed"] * 11 + ["closed"] * 988
    assert await versions(admin, account) == list(range(1, row.balance.balance_version + 1))


async def test_debt_is_written_row_by_row_where_what_expires_was_spent_on_credit(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open(overdraft=10)
    await give(admin, account, 3, expires_at=DUE)
    await clock.set(DUE - timedelta(seconds=30))
    held = await credits.reserve(account, ReserveRequest("k", 5 * CREDIT, 60))
    await clock.set(DUE)
    # All is held, so nothing expires; when the reservation ends, all of it does.
    assert figures((await credits.catch_up(account)).balance) == (0, 5 * CREDIT, 2 * CREDIT)
    await clock.set(DUE + HOUR)
    row = await credits.expire_reservations(account)
    assert figures(row.balance) == (0, 0, 0)
    after = (held.version or 0) + 1
    assert [
        (entry["amount"], entry["available_after"], entry["overage_after"])
        for entry in await ledger(admin, account, after=after)
    ] == [(-CREDIT, left * CREDIT, 0) for left in (2, 1, 0)]


async def test_grants_that_begin_together_begin_over_several_calls(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    accounts_due = [await accounts.open(), await accounts.open()]
    many, few = accounts_due
    await give(admin, many, 999, effective_at=DUE)
    await give(admin, few, 200, effective_at=DUE)
    await clock.set(DUE)
    assert figures((await credits.catch_up(few)).balance) == (200 * CREDIT, 0, 0)
    # Rounds of 200: five of them are half of what a call may work.
    assert figures((await credits.catch_up(many)).balance) == (999 * CREDIT, 0, 0)
    await clock.set(PERIOD_END)
    await credits.catch_up(many)
    assert await versions(admin, many) == list(range(1, 1_002))


async def test_a_thousand_open_grants_are_enough(
    credits: Credits, accounts: Accounts, admin: Connection, clock: Clock
) -> None:
    await clock.set(NOW)
    account = await accounts.open()
    await give(admin, account, 999)
    last = await credits.issue_grant(account, CREDIT, "promotional", "last")
    async with refused(accounts, "VALIDATION_ERROR", FULL):
        await credits.issue_grant(account, CREDIT, "promotional", "one more")
    async with refused(accounts, "VALIDATION_ERROR", FULL):
        await credits.adjust(account, CREDIT, "one more", "a gift")
    # A replay is no other grant, and what is used up makes room.
    again = await credits.issue_grant(account, CREDIT, "promotional", "last")
    assert (again.replayed, again.grant_id) == (True, last.grant_id)
    spent = await credits.deduct(account, CREDIT, "spent")
    await credits.issue_grant(account, CREDIT, "promotional", "one more")
    # What is the customer's by right is not refused: a refund, a month.
    await credits.refund(account, "back", version=spent.version)
    row = await credits.set_allowance(account, CREDIT, "a month")
    assert figures(row.balance) == (1_002 * CREDIT, 0, 0)
