"""credits.from_cost, against an oracle in exact fractions."""

from fractions import Fraction
from math import ceil
from random import Random
from uuid import uuid4

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits
from tests.support.accounts import Accounts

LARGEST = 1_000_000_000_000_000_000


def micro_credits(cost: int, price: int, increment: int, minimum: int) -> int:
    """Return what a cost is: the exact quotient, rounded up once."""
    if cost == 0:
        return 0
    exact = Fraction(cost * 1_000_000, price)
    return max(ceil(exact / increment) * increment, minimum)


async def test_default_rounding(credits: Credits, accounts: Accounts) -> None:
    project = await accounts.project()
    for cost, amount in (
        (0, 0),
        (1, 250_000),
        (250_000, 250_000),
        (250_001, 500_000),
        (500_000, 500_000),
        (1_000_000, 1_000_000),
        (1_000_001, 1_250_000),
        (3_141_592_653, 3_141_750_000),
    ):
        assert await credits.from_cost(project, cost) == amount


async def test_equals_exact_arithmetic(database: Database, accounts: Accounts) -> None:
    for price, increment, minimum in (
        (1_000_000, 250_000, 250_000),
        (1, 1, 0),
        (3, 7, 11),
        (999_983, 250_000, 1_000_000),
        (1_000_000, 1_000_000_000_000, 0),
        (1_000_000_000_000_000, 1, 1_000_000_000_000),
    ):
        project = await accounts.project(
            nanodollars_per_credit=price, increment=increment, minimum_charge=minimum
        )
        chance = Random(price + increment)
        # As far as the answer stays within the limit, and around whole increments.
        top = (LARGEST - increment) * price // 1_000_000
        costs = [chance.randrange(min(top, 10**magnitude)) for magnitude in range(1, 19)] * 10
        edge = max(1, increment * price // 1_000_000)
        costs += [0, 1, edge - 1, edge, edge + 1, 2 * edge, 2 * edge + 1]
        rows = await database.fetch(
            "select credits.from_cost($1, c) from unnest($2::bigint[]) as c", project, costs
        )
        assert [row[0] for row in rows] == [
            micro_credits(cost, price, increment, minimum) for cost in costs
        ]


async def test_minimum_need_not_be_a_whole_increment(credits: Credits, accounts: Accounts) -> None:
    project = await accounts.project(increment=250_000, minimum_charge=300_000)
    assert await credits.from_cost(project, 1) == 300_000
    assert await credits.from_cost(project, 250_001) == 500_000


async def test_a_new_price_holds_at_once(credits: Credits, accounts: Accounts) -> None:
    project = await accounts.project()
    assert await credits.from_cost(project, 2_000_000) == 2_000_000
    await credits.set_policy(project, nanodollars_per_credit=4_000_000)
    assert await credits.from_cost(project, 2_000_000) == 500_000


async def test_largest_amount(credits: Credits, accounts: Accounts) -> None:
    project = await accounts.project()
    assert await credits.from_cost(project, LARGEST) == LARGEST
    for cost in (LARGEST + 1, 9_223_372_036_854_775_807):
        with pytest.raises(Refusal) as refused:
            await credits.from_cost(project, cost)
        assert refused.value.code == "VALIDATION_ERROR"
        assert refused.value.facts == {
            "field": "costNanodollars",
            "reason": "comes to more than 10^12 credits",
        }


async def test_cost_below_zero_or_missing(database: Database, accounts: Accounts) -> None:
    project = await accounts.project()
    before = await accounts.snapshot()
    for cost in (-1, -9_223_372_036_854_775_808, None):
        with pytest.raises(Refusal) as refused:
            await database.value("select credits.from_cost($1, $2)", project, cost)
        assert refused.value.code == "VALIDATION_ERROR"
        assert refused.value.facts == {"field": "costNanodollars", "reason": "must be at least 0"}
    assert await accounts.snapshot() == before


async def test_unknown_project(credits: Credits, accounts: Accounts) -> None:
    project = uuid4()
    before = await accounts.snapshot()
    with pytest.raises(Refusal) as refused:
        await credits.from_cost(project, 1)
    assert refused.value.code == "NOT_FOUND"
    assert refused.value.facts == {"kind": "project", "id": str(project)}
    assert await accounts.snapshot() == before
