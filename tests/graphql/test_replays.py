"""The same request again answers the first one; another under its key is refused."""

import asyncio
from typing import Any

import pytest

from db.driver import Connection
from tests.graphql.requests import Requests, everything
from tests.support.accounts import Accounts
from tests.support.api import Api, unique
from tests.support.callers import Caller, Tenants

# What makes a request under the same key another one.
OTHER: dict[str, dict[str, Any]] = {
    "reserveCredits": {"amount": "2"},
    "deductCredits": {"amount": "2"},
    "grantCredits": {"amount": "2"},
    "adjustCredits": {"amount": "2"},
    "refundCredits": {"amount": "0.5"},
    "voidGrant": {"amount": "0.5"},
    "forgiveOverage": {"amount": "0.25"},
    "updateOrganizationSettings": {"overdraftLimit": "6"},
    "createProject": {"name": "Other"},
    "createOrganization": {"name": "Other"},
    "createProjectKey": {"scopes": ["credits:grant"]},
    "createOrganizationKey": {"name": "Other"},
}
# What no answer may change, however often the request is sent.
MOVED = ("balance", "replayed")


@pytest.mark.parametrize("operation", sorted(OTHER))
async def test_the_same_request_again_answers_the_first_and_moves_nothing(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    first = (await api.run(operation, variables)).result
    assert first["replayed"] is False
    before = await everything(admin)
    again = (await api.run(operation, variables)).result
    assert again == first | {"replayed": True}
    assert await everything(admin) == before


@pytest.mark.parametrize("operation", sorted(OTHER))
async def test_another_request_under_a_used_key_is_refused_and_moves_nothing(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    assert (await api.run(operation, variables)).code == "OK"
    before = await everything(admin)
    other = {"input": variables["input"] | OTHER[operation]}
    result = (await api.run(operation, other)).result
    assert (result["__typename"], result["code"]) == ("DuplicateRequest", "DUPLICATE_REQUEST")
    document = "mutation ($input: %sInput!) { %s(input: $input) { ...on DuplicateRequest { %s } } }"
    name = operation[0].upper() + operation[1:]
    asked = await api.send(document % (name, operation, "idempotencyKey"), other)
    assert asked.result == {"idempotencyKey": variables["input"]["idempotencyKey"]}
    assert await everything(admin) == before


@pytest.mark.parametrize("operation", sorted(OTHER))
async def test_many_at_once_under_one_key_do_the_work_once(
    operation: str, api: Api, requests: Requests
) -> None:
    variables = await requests.variables(operation)
    answers = await asyncio.gather(*(api.run(operation, variables) for _ in range(5)))
    results = [answered.result for answered in answers]
    assert sorted(result["replayed"] for result in results) == [False, True, True, True, True]
    [first] = [result for result in results if not result["replayed"]]
    for result in results:
        assert result | {"replayed": False} == first


async def test_a_reservation_replayed_tells_how_it_stands_now(
    api: Api, requests: Requests, tenants: Tenants
) -> None:
    variables = await requests.variables("reserveCredits")
    first = (await api.run("reserveCredits", variables)).result
    settle = {
        "organizationId": str(tenants.organization),
        "reservationId": first["reservation"]["id"],
        "amount": "0.5",
    }
    settled = (await api.run("settleCredits", {"input": settle})).result
    again = (await api.run("reserveCredits", variables)).result
    assert again == {
        "__typename": "ReserveCreditsSuccess",
        "reservation": first["reservation"] | {"status": "SETTLED"},
        "balance": settled["balance"],
        "replayed": True,
    }


async def test_settling_again_replays_the_same_amount_and_refuses_another(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("settleCredits")
    first = (await api.run("settleCredits", variables)).result
    before = await everything(admin)
    assert (await api.run("settleCredits", variables)).result == first | {"replayed": True}
    variables["input"]["amount"] = "0.6"
    refused = (await api.run("settleCredits", variables)).result
    refused.pop("message")
    assert refused == {
        "__typename": "ReservationSettled",
        "code": "RESERVATION_SETTLED",
        "reservationId": variables["input"]["reservationId"],
        "settledAmount": "0.5",
    }
    assert await everything(admin) == before


async def test_releasing_again_replays_and_then_nothing_can_be_settled(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("releaseCredits")
    first = (await api.run("releaseCredits", variables)).result
    before = await everything(admin)
    assert (await api.run("releaseCredits", variables)).result == first | {"replayed": True}
    settle = {"input": variables["input"] | {"amount": "1"}}
    assert (await api.run("settleCredits", settle)).code == "RESERVATION_RELEASED"
    assert await everything(admin) == before


async def test_extending_again_replays_and_never_holds_less(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("extendReservation")
    first = (await api.run("extendReservation", variables)).result
    before = await everything(admin)
    for amount in ("2", "1.5"):
        variables["input"]["amount"] = amount
        again = (await api.run("extendReservation", variables)).result
        assert again == first | {"replayed": True}
    assert await everything(admin) == before


async def test_keys_of_accounts_are_shared_by_whoever_may_act_on_them(
    api: Api, requests: Requests
) -> None:
    variables = await requests.variables("reserveCredits")
    first = (await api.run("reserveCredits", variables, Caller.PROJECT)).result
    again = (await api.run("reserveCredits", variables, Caller.PROJECT_GRANTS)).result
    assert again == first | {"replayed": True}


async def test_the_same_key_on_another_account_is_another_request(
    api: Api, requests: Requests, tenants: Tenants
) -> None:
    variables = await requests.variables("reserveCredits")
    await api.run("reserveCredits", variables)
    variables["input"]["organizationId"] = str(tenants.sibling)
    assert (await api.run("reserveCredits", variables)).result["replayed"] is False


async def test_keys_that_make_things_belong_to_their_caller(api: Api, requests: Requests) -> None:
    variables = await requests.variables("createOrganization")
    first = (await api.run("createOrganization", variables, Caller.PROJECT)).result
    other = (await api.run("createOrganization", variables, Caller.PROJECT_GRANTS)).result
    assert other["replayed"] is False
    assert other["organization"]["id"] != first["organization"]["id"]


async def test_a_refused_request_leaves_its_key_free(
    api: Api, accounts: Accounts, tenants: Tenants
) -> None:
    organization = await accounts.open(1, project_id=tenants.project)
    request = {"organizationId": str(organization), "amount": "2", "idempotencyKey": unique()}
    assert (await api.run("reserveCredits", {"input": request})).code == "INSUFFICIENT_CREDITS"
    request["amount"] = "1"
    assert (await api.run("reserveCredits", {"input": request})).code == "OK"


async def test_a_refused_project_leaves_its_key_free(api: Api, requests: Requests) -> None:
    taken = await requests.variables("createProject")
    await api.run("createProject", taken)
    request = taken["input"] | {"idempotencyKey": unique()}
    refused = (await api.run("createProject", {"input": request})).result
    assert (refused["__typename"], refused["code"], refused["field"]) == (
        "Conflict",
        "CONFLICT",
        "slug",
    )
    request["slug"] = unique("p")
    assert (await api.run("createProject", {"input": request})).code == "OK"


async def test_an_external_reference_names_one_organization(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    request = {
        "projectId": str(tenants.project),
        "name": "First",
        "externalRef": unique("ref"),
        "idempotencyKey": unique(),
    }
    first = (await api.run("createOrganization", {"input": request})).result
    before = await everything(admin)
    renamed = request | {"name": "Second", "idempotencyKey": unique()}
    again = (await api.run("createOrganization", {"input": renamed})).result
    assert again == first | {"replayed": True}
    after = await everything(admin)
    # All that is new is that the second key was used.
    assert len(after["core.idempotency_keys"]) == len(before["core.idempotency_keys"]) + 1
    assert after | {"core.idempotency_keys": None} == before | {"core.idempotency_keys": None}
    other = request | {"kind": "PERSONAL", "idempotencyKey": unique()}
    refused = (await api.run("createOrganization", {"input": other})).result
    assert (refused["code"], refused["field"]) == ("CONFLICT", "externalRef")
