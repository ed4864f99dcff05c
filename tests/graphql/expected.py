"""What documents answer of an account opened at an hour that stands still."""

from typing import Any
from uuid import UUID

from tests.support.api import Api
from tests.support.callers import Caller, Tenants
from tests.support.clock import utc

NOW = utc("2026-03-10 10:00")
START, END = "2026-03-10T10:00:00Z", "2026-04-10T10:00:00Z"
ZERO = {
    "available": "0",
    "reserved": "0",
    "spendable": "0",
    "overage": "0",
    "overdraftLimit": "0",
    "usedThisPeriod": "0",
    "total": "0",
    "remaining": "0",
    "usagePercentage": 0.0,
    "unlimited": False,
    "periodEnd": END,
}


def balance(tenants: Tenants, version: int, **figures: Any) -> dict[str, Any]:
    """Return what most documents ask of a balance."""
    return ZERO | {"organizationId": str(tenants.organization), "version": version} | figures


def whole(tenants: Tenants, version: int, **figures: Any) -> dict[str, Any]:
    """Return what the documents of balances ask for."""
    more = {"granted": "0", "monthly": "0", "bonus": "0", "allowance": "0", "periodStart": START}
    return balance(tenants, version, **more | figures)


def untouched(amount: str = "100") -> dict[str, str]:
    """Return the figures of an account of which nothing is used or reserved."""
    return {"available": amount, "spendable": amount, "total": amount, "remaining": amount}


def state(reservation: UUID | str, status: str = "PENDING", **more: Any) -> dict[str, Any]:
    return {
        "id": str(reservation),
        "status": status,
        "amount": "1",
        "settledAmount": None,
        "expiresAt": "2026-03-10T10:05:00Z" if status == "PENDING" else None,
    } | more


async def transact(api: Api, operation: str, **fields: Any) -> dict[str, Any]:
    """Send a mutation and return its result, which must be a success."""
    result: dict[str, Any] = (await api.run(operation, {"input": fields})).result
    assert result.pop("__typename").endswith("Success"), result
    return result


async def keys(api: Api, operation: str, caller: Caller, **variables: Any) -> list[str]:
    """Return the keys of what a list of the catalog answers, in its order."""
    return [each["key"] for each in (await api.run(operation, variables, caller)).result]
