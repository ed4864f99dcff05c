"""What the ledger, grants and reservations tell of a request, to the last field."""

from typing import Any

import pytest

from db.driver import Connection
from tests.support.accounts import Accounts
from tests.support.api import Api, unique
from tests.support.callers import Caller, Tenants, make_tenants
from tests.support.clock import Clock, utc

NOW = utc("2026-03-10 10:00")
START = "2026-03-10T10:00:00Z"
RELATED = {"type": "document", "id": "d-1", "name": "Annual report"}
METADATA = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
SUBJECT = {
    "feature": "chat",
    "quality": "high",
    "model": "gpt-x",
    "priceVersion": "2026-03",
    "endCustomerRef": "customer-7",
    "related": RELATED,
}


@pytest.fixture
async def tenants(clock: Clock, admin: Connection, accounts: Accounts) -> Tenants:
    """Tenants at an hour that stands still: versions 1 and 2 opened their accounts."""
    await clock.set(NOW)
    return await make_tenants(admin, accounts)


async def transact(api: Api, operation: str, caller: Caller, **fields: Any) -> dict[str, Any]:
    result: dict[str, Any] = (await api.run(operation, {"input": fields}, caller)).result
    assert result.pop("__typename").endswith("Success"), result
    return result


async def newest(api: Api, operation: str, tenants: Tenants) -> dict[str, Any]:
    """Return the newest row of a list."""
    variables = {"organizationId": str(tenants.organization), "first": 1}
    [row] = (await api.run(operation, variables)).result["nodes"]
    return dict(row)


async def actor(admin: Connection, caller: Caller, tenants: Tenants) -> dict[str, str]:
    """Return the snapshot of a caller that rows keep."""
    key_id = await admin.fetchval(
        "select id from identity.api_keys where project_id = $1 and name = $2",
        tenants.project,
        caller.value,
    )
    return {"kind": "project_key", "id": str(key_id), "label": caller.value}


async def test_a_reservation_tells_its_whole_request(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    key = unique()
    made = await transact(
        api,
        "reserveCredits",
        Caller.PROJECT,
        organizationId=str(tenants.organization),
        amount="4",
        ttlSeconds=60,
        idempotencyKey=key,
        metadata=METADATA,
        **SUBJECT,
    )
    assert await newest(api, "creditReservations", tenants) == {
        "id": made["reservation"]["id"],
        "organizationId": str(tenants.organization),
        "status": "PENDING",
        "amount": "4",
        "settledAmount": None,
        "idempotencyKey": key,
        "openedAt": START,
        "expiresAt": "2026-03-10T10:01:00Z",
        "closedAt": None,
        "openedVersion": 3,
        "releaseReason": None,
        "actor": await actor(admin, Caller.PROJECT, tenants),
        "metadata": METADATA,
        **SUBJECT,
    }


async def test_a_settle_tells_on_the_ledger_what_was_reserved_and_drawn(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    organization = str(tenants.organization)
    made = await transact(
        api,
        "reserveCredits",
        Caller.PROJECT,
        organizationId=organization,
        amount="4",
        idempotencyKey=unique(),
        metadata=METADATA,
        **SUBJECT,
    )
    await transact(
        api,
        "settleCredits",
        Caller.PROJECT_GRANTS,
        organizationId=organization,
        reservationId=made["reservation"]["id"],
        amount="3",
        usage={
            "operation": "chat",
            "model": "gpt-y",
            "inputTokens": 10,
            "outputTokens": 20,
            "costNanodollars": str(2**63 - 1),
            "latencyMs": 5,
            "statusCode": 200,
            "traceId": "t-1",
            "occurredAt": START,
        },
    )
    grant = await newest(api, "creditGrants", tenants)
    assert await newest(api, "creditTransactions", tenants) == {
        "id": f"{organization}:4",
        "organizationId": organization,
        "version": 4,
        "type": "CONSUMPTION",
        "operation": "settle",
        "amount": "-3",
        "availableAfter": "97",
        "reservedAfter": "0",
        "overageAfter": "0",
        "reservationId": made["reservation"]["id"],
        "grantId": None,
        "refundedTransactionId": None,
        "estimated": "4",
        "drawn": [{"grantId": grant["id"], "amount": "3"}],
        "idempotencyKey": None,
        "reason": None,
        "actor": await actor(admin, Caller.PROJECT_GRANTS, tenants),
        "metadata": METADATA,
        "createdAt": START,
        # The model that answered, not the one that was meant to.
        **SUBJECT | {"model": "gpt-y"},
    }
    used = await admin.fetchrow(
        "select * from usage.records where account_id = $1", tenants.organization
    )
    assert used is not None
    assert dict(used) == {
        "account_id": tenants.organization,
        "id": used["id"],
        "reservation_id": used["reservation_id"],
        "version": 4,
        "kind": "llm",
        "operation": "chat",
        "feature": "chat",
        "quality": "high",
        "model": "gpt-y",
        "price_version": "2026-03",
        "input_tokens": 10,
        "output_tokens": 20,
        "usage_estimated": False,
        "cost_nanodollars": 2**63 - 1,
        "credits": 3_000_000,
        "status_code": 200,
        "latency_ms": 5,
        "trace_id": "t-1",
        "end_customer_ref": "customer-7",
        "metadata": None,
        "occurred_at": NOW,
        "recorded_at": NOW,
    }


async def test_a_deduction_tells_its_whole_request(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    key = unique()
    await transact(
        api,
        "deductCredits",
        Caller.PROJECT,
        organizationId=str(tenants.organization),
        amount="2",
        idempotencyKey=key,
        reason="a report",
        metadata=METADATA,
        **SUBJECT,
    )
    grant = await newest(api, "creditGrants", tenants)
    assert await newest(api, "creditTransactions", tenants) == {
        "id": f"{tenants.organization}:3",
        "organizationId": str(tenants.organization),
        "version": 3,
        "type": "CONSUMPTION",
        "operation": "deduct",
        "amount": "-2",
        "availableAfter": "98",
        "reservedAfter": "0",
        "overageAfter": "0",
        "reservationId": None,
        "grantId": None,
        "refundedTransactionId": None,
        "estimated": None,
        "drawn": [{"grantId": grant["id"], "amount": "2"}],
        "idempotencyKey": key,
        "reason": "a report",
        "actor": await actor(admin, Caller.PROJECT, tenants),
        "metadata": METADATA,
        "createdAt": START,
        **SUBJECT,
    }


async def test_a_grant_tells_its_whole_request(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    key = unique()
    made = await transact(
        api,
        "grantCredits",
        Caller.PROJECT_GRANTS,
        organizationId=str(tenants.organization),
        amount="2",
        source="REFERRAL",
        category="PAID",
        priority=7,
        idempotencyKey=key,
        sourceRef="friend-3",
        reason="thanks",
        metadata=METADATA,
    )
    assert await newest(api, "creditGrants", tenants) == {
        "id": made["grant"]["id"],
        "organizationId": str(tenants.organization),
        "source": "REFERRAL",
        "category": "PAID",
        "priority": 7,
        "amount": "2",
        "remaining": "2",
        "state": "LIVE",
        "effectiveAt": START,
        "expiresAt": None,
        "sourceRef": "friend-3",
        "reason": "thanks",
        "idempotencyKey": key,
        "actor": await actor(admin, Caller.PROJECT_GRANTS, tenants),
        "metadata": METADATA,
        "createdAt": START,
    }


async def test_a_released_reservation_tells_when_and_why(api: Api, tenants: Tenants) -> None:
    organization = str(tenants.organization)
    made = await transact(
        api,
        "reserveCredits",
        Caller.PROJECT,
        organizationId=organization,
        amount="4",
        idempotencyKey=unique(),
    )
    await transact(
        api,
        "releaseCredits",
        Caller.PROJECT,
        organizationId=organization,
        reservationId=made["reservation"]["id"],
        reason="timeout",
    )
    row = await newest(api, "creditReservations", tenants)
    assert (row["status"], row["closedAt"], row["releaseReason"]) == ("RELEASED", START, "timeout")


async def test_a_watched_ledger_tells_what_the_list_tells(api: Api, tenants: Tenants) -> None:
    async def deduct() -> None:
        await transact(
            api,
            "deductCredits",
            Caller.PROJECT,
            organizationId=str(tenants.organization),
            amount="0.01",
            idempotencyKey=unique(),
            metadata=METADATA,
            **SUBJECT,
        )

    variables = {"organizationId": str(tenants.organization)}
    told = (await api.first("creditTransactionAdded", variables, stir=deduct)).result
    rows = (await api.run("creditTransactions", {**variables, "first": 100})).result["nodes"]
    assert told == next(row for row in rows if row["version"] == told["version"])
    assert told["related"] == RELATED
