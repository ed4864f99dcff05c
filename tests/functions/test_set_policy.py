"""credits.set_policy."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.database import Database
from app.core.refusals import Refusal
from app.credits import Credits
from app.credits.rows import Policy
from db.driver import Connection
from tests.functions.grants import stored
from tests.support.accounts import CREDIT, Accounts

LARGEST = 1_000_000_000 * CREDIT
MILLION = 1_000_000 * CREDIT
BAD_DEFAULTS = {"field": "defaults", "reason": "must be from 0 to 10^9 credits"}


def defaults(project: UUID) -> dict[str, Any]:
    """Return what a project's policy is from the start."""
    return {
        "project_id": project,
        "nanodollars_per_credit": 1_000_000,
        "increment": 250_000,
        "minimum_charge": 250_000,
        "period_grant": 0,
        "welcome_grant": 0,
        "rollover_cap": 0,
        "overdraft_limit": 0,
        "low_balance_percent": 20,
        "clawback_creates_overage": False,
        "settle_limit_factor": 100,
        "settle_limit_floor": 10_000 * CREDIT,
    }


async def policies(admin: Connection) -> list[Any]:
    return await admin.fetch("select * from credits.policies order by project_id")


async def test_defaults_and_then_all_that_is_set(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project()
    # Nothing set is nothing changed: the row answers what holds.
    before = await policies(admin)
    assert await credits.set_policy(project) == Policy(**defaults(project))
    assert await policies(admin) == before

    wanted: dict[str, Any] = {
        "nanodollars_per_credit": 2_000_000,
        "increment": 500_000,
        "minimum_charge": 0,
        "period_grant": 100 * CREDIT,
        "welcome_grant": 20 * CREDIT,
        "rollover_cap": 30 * CREDIT,
        "overdraft_limit": 5 * CREDIT,
        "low_balance_percent": 50,
        "clawback_creates_overage": True,
        "settle_limit_factor": 7,
        "settle_limit_floor": 3 * CREDIT,
    }
    assert await credits.set_policy(project, **wanted) == Policy(project_id=project, **wanted)
    [row] = await policies(admin)
    assert dict(row) == {"project_id": project, **wanted}


async def test_each_value_is_set_alone(credits: Credits, accounts: Accounts) -> None:
    for name, value in (
        ("nanodollars_per_credit", 2_000_000),
        ("increment", 1),
        ("minimum_charge", 0),
        ("period_grant", -1),
        ("welcome_grant", CREDIT),
        ("rollover_cap", CREDIT),
        ("overdraft_limit", CREDIT),
        ("low_balance_percent", 10),
        ("clawback_creates_overage", True),
        ("settle_limit_factor", 1),
        ("settle_limit_floor", 0),
    ):
        project = await accounts.project()
        wanted: dict[str, Any] = {name: value}
        row = await credits.set_policy(project, **wanted)
        assert row == Policy(**(defaults(project) | wanted))


async def test_another_project_keeps_its_own(credits: Credits, accounts: Accounts) -> None:
    one, other = await accounts.project(), await accounts.project()
    await credits.set_policy(one, period_grant=CREDIT)
    assert await credits.set_policy(other) == Policy(**defaults(other))


async def test_accounts_that_exist_keep_their_terms(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    project = await accounts.project(period_grant=CREDIT, overdraft_limit=CREDIT)
    old = await accounts.open(project_id=project)
    before = await stored(admin, old)
    await credits.set_policy(
        project, period_grant=2 * CREDIT, overdraft_limit=0, rollover_cap=CREDIT
    )
    assert await stored(admin, old) == before
    new = await stored(admin, await accounts.open(project_id=project))
    assert (new["period_grant"], new["overdraft_limit"], new["rollover_cap"]) == (
        2 * CREDIT,
        0,
        CREDIT,
    )


async def test_limits_can_be_reached(credits: Credits, accounts: Accounts) -> None:
    project = await accounts.project()
    for wanted in (
        {
            "nanodollars_per_credit": 1,
            "increment": 1,
            "minimum_charge": 0,
            "period_grant": -1,
            "welcome_grant": 0,
            "rollover_cap": 0,
            "overdraft_limit": 0,
            "low_balance_percent": 10,
            "clawback_creates_overage": False,
            "settle_limit_factor": 1,
            "settle_limit_floor": 0,
        },
        {
            "nanodollars_per_credit": 1_000_000_000_000_000,
            "increment": MILLION,
            "minimum_charge": MILLION,
            "period_grant": LARGEST,
            "welcome_grant": LARGEST,
            "rollover_cap": LARGEST,
            "overdraft_limit": LARGEST,
            "low_balance_percent": 50,
            "clawback_creates_overage": True,
            "settle_limit_factor": 1_000_000,
            "settle_limit_floor": LARGEST,
        },
    ):
        arguments: dict[str, Any] = dict(wanted)
        row = await credits.set_policy(project, **arguments)
        assert row == Policy(project_id=project, **arguments)


async def test_value_out_of_range(credits: Credits, accounts: Accounts, admin: Connection) -> None:
    project = await accounts.project()
    before = await policies(admin)
    for name, values, facts in (
        (
            "nanodollars_per_credit",
            (0, -1, 1_000_000_000_000_001),
            {"field": "creditPrice", "reason": "must be above 0 and at most $1,000,000"},
        ),
        (
            "increment",
            (0, -1, MILLION + 1),
            {"field": "increment", "reason": "must be above 0 and at most 10^6 credits"},
        ),
        (
            "minimum_charge",
            (-1, MILLION + 1),
            {"field": "minimumCharge", "reason": "must be from 0 to 10^6 credits"},
        ),
        (
            "period_grant",
            (-2, LARGEST + 1),
            {"field": "allowance", "reason": "must be -1 (unlimited) or from 0 to 10^9 credits"},
        ),
        ("welcome_grant", (-1, LARGEST + 1), BAD_DEFAULTS),
        ("rollover_cap", (-1, LARGEST + 1), BAD_DEFAULTS),
        ("overdraft_limit", (-1, LARGEST + 1), BAD_DEFAULTS),
        (
            "low_balance_percent",
            (9, 51),
            {"field": "lowBalancePercent", "reason": "must be from 10 to 50"},
        ),
        (
            "settle_limit_factor",
            (0, -1, 1_000_001),
            {"field": "settleLimitFactor", "reason": "must be from 1 to 10^6"},
        ),
        (
            "settle_limit_floor",
            (-1, LARGEST + 1),
            {"field": "settleLimitFloor", "reason": "must be from 0 to 10^9 credits"},
        ),
    ):
        for value in values:
            # A good value beside the bad one is not set either.
            arguments: dict[str, Any] = {"clawback_creates_overage": True, name: value}
            with pytest.raises(Refusal) as refused:
                await credits.set_policy(project, **arguments)
            assert (refused.value.code, refused.value.facts) == ("VALIDATION_ERROR", facts)
    assert await policies(admin) == before


async def test_unknown_project(database: Database, accounts: Accounts, admin: Connection) -> None:
    await accounts.project()
    before = await policies(admin)
    for project in (uuid4(), None):
        with pytest.raises(Refusal) as refused:
            await database.fetch("select credits.set_policy($1)", project)
        assert refused.value.code == "NOT_FOUND"
        assert refused.value.facts == {
            "kind": "project",
            "id": None if project is None else str(project),
        }
    assert await policies(admin) == before
