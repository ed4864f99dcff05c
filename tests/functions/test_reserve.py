"""credits.reserve."""

from uuid import uuid4

import pytest

from app.core.refusals import Refusal
from app.credits import Credits, ReserveRequest
from tests.support.accounts import CREDIT, Accounts


async def test_reserve_moves_available_to_reserved(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(10)
    row = await credits.reserve(account, ReserveRequest("k", 4 * CREDIT))
    assert row.status == "pending"
    assert row.amount == 4 * CREDIT
    assert row.balance is not None
    assert (row.balance.available, row.balance.reserved) == (6 * CREDIT, 4 * CREDIT)
    assert row.version == row.balance.balance_version == row.version_before + 1


async def test_refusal_tells_the_facts_and_moves_nothing(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(10)
    before = await accounts.snapshot()
    with pytest.raises(Refusal) as refused:
        await credits.reserve(account, ReserveRequest("k", 10 * CREDIT + 1))
    assert refused.value.code == "INSUFFICIENT_CREDITS"
    assert refused.value.facts == {
        "required": 10 * CREDIT + 1,
        "spendable": 10 * CREDIT,
        "shortfall": 1,
    }
    assert await accounts.snapshot() == before


async def test_unknown_account(credits: Credits, accounts: Accounts) -> None:
    account = uuid4()
    before = await accounts.snapshot()
    with pytest.raises(Refusal) as refused:
        await credits.reserve(account, ReserveRequest("k", CREDIT))
    assert refused.value.code == "BALANCE_NOT_FOUND"
    assert refused.value.facts == {"accountId": str(account)}
    assert await accounts.snapshot() == before
