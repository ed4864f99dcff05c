"""credits.read_balances: several balances in one question."""

from uuid import uuid4

from app.credits import Credits, ReserveRequest
from tests.functions.books import NOW, PERIOD_END
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock


async def test_each_account_has_its_balance_and_strangers_none(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    one, other = await accounts.open(1), await accounts.open(2, overdraft=3)
    await credits.reserve(other, ReserveRequest("k", 4 * CREDIT))
    before = await accounts.snapshot()
    found = await credits.balances([one, other, uuid4()])
    assert found == {each: await accounts.balance(each) for each in (one, other)}
    assert await credits.balances([]) == {}
    assert await accounts.snapshot() == before


async def test_what_is_due_is_worked_first_and_only_there(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    await clock.set(NOW)
    due = await accounts.open(allowance=10)
    await credits.deduct(due, 4 * CREDIT, "spent")
    await clock.set(PERIOD_END)
    fresh = await accounts.open(1)
    found = await credits.balances([due, fresh])
    assert (found[due].available, found[due].period_start) == (10 * CREDIT, PERIOD_END)
    assert (found[fresh].available, found[fresh].balance_version) == (1 * CREDIT, 2)
