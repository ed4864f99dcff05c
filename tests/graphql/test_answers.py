"""What each document about credits answers, to the last field."""

import pytest

from db.driver import Connection
from tests.graphql.expected import NOW, START, balance, state, transact, untouched, whole
from tests.graphql.requests import Requests
from tests.support.accounts import CREDIT, Accounts
from tests.support.api import Api, unique
from tests.support.callers import Caller, Tenants, make_tenants
from tests.support.clock import Clock


@pytest.fixture
async def tenants(clock: Clock, admin: Connection, accounts: Accounts) -> Tenants:
    """Tenants at an hour that stands still: versions 1 and 2 opened their accounts."""
    await clock.set(NOW)
    return await make_tenants(admin, accounts)


async def test_credit_balance(api: Api, tenants: Tenants) -> None:
    answered = await api.run("creditBalance", {"organizationId": str(tenants.organization)})
    assert answered.body == {
        "data": {
            "creditBalance": whole(tenants, 2, granted="100", bonus="100", **untouched()),
        },
        "extensions": {"cost": {"requested": 1, "maximum": 5_000}},
    }


@pytest.mark.parametrize(
    ("amount", "shortfall"), [("100", "0"), ("100.000001", "0.000001"), ("0", "0")]
)
async def test_credit_balance_check(
    amount: str, shortfall: str, api: Api, tenants: Tenants
) -> None:
    variables = {"organizationId": str(tenants.organization), "amount": amount}
    assert (await api.run("creditBalanceCheck", variables)).result == {
        "canProceed": shortfall == "0",
        "required": amount,
        "shortfall": shortfall,
        "balance": balance(tenants, 2, **untouched()),
    }


async def test_reserve_credits(api: Api, tenants: Tenants, requests: Requests) -> None:
    variables = await requests.variables("reserveCredits")
    result = await transact(api, "reserveCredits", **variables["input"])
    assert result == {
        "reservation": state(result["reservation"]["id"]),
        "balance": balance(
            tenants, 3, available="99", spendable="99", reserved="1", total="100", remaining="100"
        ),
        "replayed": False,
    }


async def test_extend_reservation(api: Api, tenants: Tenants, requests: Requests) -> None:
    reservation = await requests.reserve()
    result = await transact(
        api,
        "extendReservation",
        organizationId=str(tenants.organization),
        reservationId=str(reservation),
        amount="2.5",
        expiresAt="2026-03-10T12:00:00+01:00",
    )
    assert result == {
        "reservation": state(reservation, amount="2.5", expiresAt="2026-03-10T11:00:00Z"),
        "balance": balance(
            tenants,
            4,
            available="97.5",
            spendable="97.5",
            reserved="2.5",
            total="100",
            remaining="100",
        ),
        "replayed": False,
    }


async def test_settle_credits(api: Api, tenants: Tenants, requests: Requests) -> None:
    reservation = await requests.reserve()
    result = await transact(
        api,
        "settleCredits",
        organizationId=str(tenants.organization),
        reservationId=str(reservation),
        amount="0.250001",
    )
    left = {"available": "99.749999", "spendable": "99.749999", "remaining": "99.749999"}
    assert result == {
        "reservation": state(reservation, "SETTLED", settledAmount="0.250001"),
        "transactionId": f"{tenants.organization}:4",
        "late": False,
        "balance": balance(
            tenants, 4, usedThisPeriod="0.250001", total="100", usagePercentage=0.25, **left
        ),
        "replayed": False,
    }


async def test_settle_credits_of_nothing_has_no_ledger_row(
    api: Api, tenants: Tenants, requests: Requests
) -> None:
    reservation = await requests.reserve()
    result = await transact(
        api,
        "settleCredits",
        organizationId=str(tenants.organization),
        reservationId=str(reservation),
        amount=0,
    )
    assert result["transactionId"] is None
    assert result["reservation"] == state(reservation, "SETTLED", settledAmount="0")


async def test_release_credits(api: Api, tenants: Tenants, requests: Requests) -> None:
    reservation = await requests.reserve()
    result = await transact(
        api,
        "releaseCredits",
        organizationId=str(tenants.organization),
        reservationId=str(reservation),
        reason="canceled",
    )
    assert result == {
        "reservation": state(reservation, "RELEASED"),
        "balance": balance(tenants, 4, **untouched()),
        "replayed": False,
    }


async def test_deduct_credits(api: Api, tenants: Tenants, requests: Requests) -> None:
    variables = await requests.variables("deductCredits")
    result = await transact(api, "deductCredits", **variables["input"])
    assert result == {
        "transactionId": f"{tenants.organization}:3",
        "amount": "1",
        "balance": balance(
            tenants,
            3,
            available="99",
            spendable="99",
            remaining="99",
            usedThisPeriod="1",
            total="100",
            usagePercentage=1.0,
        ),
        "replayed": False,
    }


async def test_grant_credits(api: Api, tenants: Tenants) -> None:
    result = await transact(
        api,
        "grantCredits",
        organizationId=str(tenants.organization),
        amount="7.5",
        source="TOP_UP",
        idempotencyKey=unique(),
        expiresAt="2027-01-01T00:00:00Z",
    )
    assert result == {
        "grant": {
            "id": result["grant"]["id"],
            "state": "LIVE",
            "amount": "7.5",
            "remaining": "7.5",
            "effectiveAt": START,
            "expiresAt": "2027-01-01T00:00:00Z",
        },
        "transactionId": f"{tenants.organization}:3",
        "balance": balance(tenants, 3, **untouched("107.5")),
        "replayed": False,
    }


async def test_grant_credits_of_the_future_count_nowhere_yet(api: Api, tenants: Tenants) -> None:
    result = await transact(
        api,
        "grantCredits",
        organizationId=str(tenants.organization),
        amount="7.5",
        idempotencyKey=unique(),
        effectiveAt="2026-03-11T00:00:00Z",
    )
    assert (result["grant"]["state"], result["transactionId"]) == ("SCHEDULED", None)
    assert result["balance"] == balance(tenants, result["balance"]["version"], **untouched())


async def test_adjust_credits_in_and_out(api: Api, tenants: Tenants) -> None:
    common = {"organizationId": str(tenants.organization), "reason": "a correction"}
    into = await transact(api, "adjustCredits", amount="5", idempotencyKey=unique(), **common)
    assert into == {
        "amount": "5",
        "grantId": into["grantId"],
        "transactionId": f"{tenants.organization}:3",
        "balance": balance(tenants, 3, **untouched("105")),
        "replayed": False,
    }
    out = await transact(api, "adjustCredits", amount="-15", idempotencyKey=unique(), **common)
    assert out == {
        "amount": "-15",
        "grantId": None,
        "transactionId": f"{tenants.organization}:4",
        "balance": balance(tenants, 4, **untouched("90")),
        "replayed": False,
    }


async def test_refund_credits(api: Api, tenants: Tenants, requests: Requests) -> None:
    variables = await requests.variables("refundCredits")
    result = await transact(api, "refundCredits", amount="0.4", **variables["input"])
    [grant] = result["grantIds"]
    assert result == {
        "refundedTransactionId": f"{tenants.organization}:4",
        "amount": "0.4",
        "refundable": "0.6",
        "grantIds": [grant],
        "balance": balance(
            tenants,
            5,
            available="99.4",
            spendable="99.4",
            remaining="99.4",
            usedThisPeriod="1",
            total="100.4",
            usagePercentage=0.99,
        ),
        "replayed": False,
    }


async def test_refund_credits_by_the_ledger_row(
    api: Api, tenants: Tenants, requests: Requests
) -> None:
    await requests.variables("refundCredits")
    result = await transact(
        api,
        "refundCredits",
        organizationId=str(tenants.organization),
        transactionId=f"{tenants.organization}:4",
        idempotencyKey=unique(),
    )
    assert (result["amount"], result["refundable"]) == ("1", "0")


async def test_void_grant(api: Api, tenants: Tenants, requests: Requests) -> None:
    variables = await requests.variables("voidGrant")
    result = await transact(api, "voidGrant", **variables["input"])
    assert result == {
        "grantId": variables["input"]["grantId"],
        "requested": "1",
        "taken": "1",
        "overageAdded": "0",
        "missing": "0",
        "balance": balance(tenants, 4, **untouched()),
        "replayed": False,
    }


async def test_forgive_overage(api: Api, tenants: Tenants, requests: Requests) -> None:
    variables = await requests.variables("forgiveOverage")
    result = await transact(api, "forgiveOverage", **variables["input"])
    used = {"usedThisPeriod": "1000", "total": "1000", "usagePercentage": 100.0}
    assert result == {
        "amount": "0.5",
        "transactionId": f"{tenants.organization}:5",
        "balance": balance(tenants, 5, overage="899.5", **used),
        "replayed": False,
    }


async def test_credit_balance_updated_begins_with_the_balance(api: Api, tenants: Tenants) -> None:
    variables = {"organizationId": str(tenants.organization)}
    answered = await api.first("creditBalanceUpdated", variables, Caller.ORGANIZATION)
    assert answered.result == whole(tenants, 2, granted="100", bonus="100", **untouched())


async def test_reservation_updated_begins_with_what_is_open(
    api: Api, tenants: Tenants, requests: Requests
) -> None:
    reservation = await requests.reserve(CREDIT)
    variables = {"organizationId": str(tenants.organization)}
    answered = await api.first("reservationUpdated", variables, Caller.ORGANIZATION)
    assert answered.result == state(reservation)
