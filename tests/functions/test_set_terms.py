"""credits.set_terms: limits and allowance together."""

from typing import Any

import pytest

from app.core.refusals import Refusal
from app.credits import Credits
from tests.functions.books import refused
from tests.support.accounts import CREDIT, Accounts


async def test_limits_and_allowance_change_together(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=10)
    row = await credits.set_terms(
        account, "k", overdraft_limit=5 * CREDIT, low_balance_percent=30, period_grant=25 * CREDIT
    )
    balance = await accounts.balance(account)
    assert row.balance == balance
    assert not row.replayed
    assert row.takes_effect_at is not None
    assert (balance.available, balance.overdraft_limit) == (25 * CREDIT, 5 * CREDIT)
    assert balance.period_grant == 25 * CREDIT


async def test_what_is_left_out_stays(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=10, overdraft=3)
    row = await credits.set_terms(account, "k", low_balance_percent=40)
    assert row.takes_effect_at is None
    assert row.balance.period_grant == 10 * CREDIT
    assert row.balance.overdraft_limit == 3 * CREDIT
    assert row.balance.available == 10 * CREDIT


async def test_again_is_a_replay(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=10)
    first = await credits.set_terms(account, "k", overdraft_limit=CREDIT, period_grant=0)
    before = await accounts.snapshot()
    again = await credits.set_terms(account, "k", overdraft_limit=CREDIT, period_grant=0)
    assert again.replayed
    assert again.version == first.version
    assert await accounts.snapshot() == before


async def test_a_refused_half_undoes_the_other(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=10)
    before = await accounts.snapshot()
    with pytest.raises(Refusal) as refused:
        await credits.set_terms(account, "k", overdraft_limit=CREDIT, period_grant=-2)
    assert refused.value.code == "VALIDATION_ERROR"
    assert refused.value.facts["field"] == "allowance"
    assert await accounts.snapshot() == before


async def test_a_rollover_cap_comes_with_an_allowance(credits: Credits, accounts: Accounts) -> None:
    account = await accounts.open(allowance=10)
    before = await accounts.snapshot()
    with pytest.raises(Refusal) as refused:
        await credits.set_terms(account, "k", rollover_cap=CREDIT)
    assert refused.value.facts == {
        "field": "rolloverCap",
        "reason": "comes with an allowance",
    }
    assert await accounts.snapshot() == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"overdraft_limit": 1}, {"overdraft_limit": 1, "period_grant": 50}),
        ({"overdraft_limit": 1, "period_grant": 50}, {"overdraft_limit": 1}),
        ({"period_grant": 50}, {"period_grant": 51}),
        ({"overdraft_limit": 1}, {"overdraft_limit": 2}),
        ({"period_grant": 50}, {"period_grant": 50, "takes_effect": "period_end"}),
    ],
)
async def test_the_key_names_all_of_the_request(
    credits: Credits, accounts: Accounts, first: dict[str, Any], second: dict[str, Any]
) -> None:
    account = await accounts.open(5)
    await credits.set_terms(account, "k", **first)
    async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
        await credits.set_terms(account, "k", **second)


async def test_the_key_of_an_allowance_set_alone_is_taken(
    credits: Credits, accounts: Accounts
) -> None:
    account = await accounts.open(5)
    await credits.set_allowance(account, 50, "k")
    async with refused(accounts, "DUPLICATE_REQUEST", {"idempotencyKey": "k"}):
        await credits.set_terms(account, "k", period_grant=50)
