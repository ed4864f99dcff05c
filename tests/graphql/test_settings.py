"""updateOrganizationSettings: limits and allowance, together or not at all."""

from typing import Any

import pytest

from db.driver import Connection
from tests.graphql.requests import everything
from tests.support.accounts import Accounts
from tests.support.api import Api, unique
from tests.support.callers import Tenants, make_tenants
from tests.support.clock import Clock, utc

NOW = utc("2026-03-10 10:00")
START, END = "2026-03-10T10:00:00Z", "2026-04-10T10:00:00Z"


@pytest.fixture
async def tenants(clock: Clock, admin: Connection, accounts: Accounts) -> Tenants:
    await clock.set(NOW)
    return await make_tenants(admin, accounts)


async def update(api: Api, tenants: Tenants, **fields: Any) -> dict[str, Any]:
    request = {
        "organizationId": str(tenants.organization),
        "idempotencyKey": unique(),
        "reason": "a test",
        **fields,
    }
    result: dict[str, Any] = (
        await api.run("updateOrganizationSettings", {"input": request})
    ).result
    return result


def figures(result: dict[str, Any]) -> tuple[Any, ...]:
    """Return allowance, unlimited, monthly, available, spendable of a success."""
    balance = result["balance"]
    names = ("allowance", "unlimited", "monthly", "available", "spendable")
    return tuple(balance[name] for name in names)


async def test_an_allowance_is_granted_at_once(api: Api, tenants: Tenants) -> None:
    result = await update(api, tenants, allowance="50")
    assert figures(result) == ("50", False, "50", "150", "150")
    assert result["allowanceTakesEffectAt"] == START


async def test_an_allowance_can_wait_for_the_period_to_end(
    api: Api, tenants: Tenants, clock: Clock
) -> None:
    result = await update(api, tenants, allowance="50", takesEffect="PERIOD_END")
    assert figures(result) == ("0", False, "0", "100", "100")
    assert result["allowanceTakesEffectAt"] == END
    await clock.set(utc("2026-04-10 10:00"))
    shown = await api.run("creditBalance", {"organizationId": str(tenants.organization)})
    assert (shown.result["allowance"], shown.result["monthly"]) == ("50", "50")


async def test_an_allowance_of_zero_takes_back_what_the_month_gave(
    api: Api, tenants: Tenants
) -> None:
    await update(api, tenants, allowance="50")
    assert figures(await update(api, tenants, allowance="0")) == ("0", False, "0", "100", "100")


async def test_unlimited_shows_no_number_and_always_has_enough(api: Api, tenants: Tenants) -> None:
    result = await update(api, tenants, unlimited=True)
    balance = result["balance"]
    assert (balance["allowance"], balance["unlimited"]) == (None, True)
    organization = str(tenants.organization)
    variables = {"organizationId": organization, "amount": "1000000"}
    check = (await api.run("creditBalanceCheck", variables)).result
    assert (check["canProceed"], check["shortfall"]) == (True, "0")
    reserved = await api.run("reserveCredits", {"input": {**variables, "idempotencyKey": unique()}})
    assert reserved.code == "OK"
    # And back to a number.
    assert figures(await update(api, tenants, allowance="1"))[:2] == ("1", False)


async def test_what_is_left_out_stays(api: Api, tenants: Tenants) -> None:
    await update(api, tenants, allowance="50", overdraftLimit="20")
    result = await update(api, tenants, lowBalancePercent=30)
    assert figures(result) == ("50", False, "50", "150", "170")
    assert result["allowanceTakesEffectAt"] is None
    result = await update(api, tenants, overdraftLimit="5")
    assert figures(result) == ("50", False, "50", "150", "155")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"allowance": "-1"}, "allowance"),
        ({"allowance": "-0.000001"}, "allowance"),
        ({"allowance": "1000000000.000001"}, "allowance"),
        ({"allowance": "5", "unlimited": True}, "allowance"),
        ({"overdraftLimit": "-1"}, "overdraftLimit"),
        ({"overdraftLimit": "1000000000.000001"}, "overdraftLimit"),
        ({"lowBalancePercent": 9}, "lowBalancePercent"),
        ({"lowBalancePercent": 51}, "lowBalancePercent"),
        ({"rolloverCap": "5"}, "rolloverCap"),
        ({"allowance": "5", "rolloverCap": "-1"}, "rolloverCap"),
        ({"reason": "x" * 1001}, "reason"),
    ],
)
async def test_a_wrong_part_changes_nothing_of_the_whole(
    fields: dict[str, Any], field: str, api: Api, tenants: Tenants, admin: Connection
) -> None:
    before = await everything(admin)
    # Right by itself; what is wrong comes before it or after it.
    right = {"overdraftLimit": "7", "lowBalancePercent": 20} | fields
    if "rolloverCap" not in fields:
        right = {"allowance": "70"} | right
    result = await update(api, tenants, **right)
    assert (result["__typename"], result["field"]) == ("InvalidInput", field)
    assert await everything(admin) == before


async def test_both_parts_are_one_change_of_one_time(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    await update(api, tenants, allowance="50", overdraftLimit="20")
    rows = await admin.fetch(
        "select operation, created_at, reason, actor_kind from credits.account_changes"
        " where account_id = $1 and operation like 'set\\_%' order by version",
        tenants.organization,
    )
    assert [tuple(row) for row in rows] == [
        ("set_limits", NOW, "a test", "admin"),
        ("set_allowance", NOW, "a test", "admin"),
    ]


async def test_an_organization_without_an_account_has_no_settings(api: Api) -> None:
    request = {
        "organizationId": "00000000-0000-4000-8000-000000000000",
        "idempotencyKey": unique(),
        "overdraftLimit": "1",
    }
    result = (await api.run("updateOrganizationSettings", {"input": request})).result
    assert result["__typename"] == "BalanceNotFound"
    assert result["code"] == "BALANCE_NOT_FOUND"
