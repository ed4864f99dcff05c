"""Keyset pages: they join without gap or double, also while rows are added."""

import base64
from typing import Any

import pytest

from app.credits import Credits, ReserveRequest, SettleRequest
from tests.graphql.requests import Requests
from tests.support.accounts import CREDIT, Accounts
from tests.support.api import Api, unique
from tests.support.callers import Caller, Tenants

ACCOUNT_LISTS = ["creditGrants", "creditReservations", "creditTransactions"]
LISTS = [*ACCOUNT_LISTS, "organizations", "projects"]


async def add(operation: str, tenants: Tenants, credits: Credits, accounts: Accounts) -> None:
    """Add one row to what a list shows."""
    account = tenants.organization
    if operation == "creditReservations":
        await credits.reserve(account, ReserveRequest(unique(), CREDIT))
    elif operation == "projects":
        await accounts.project()
    elif operation == "organizations":
        await accounts.open(project_id=tenants.project)
    else:
        await credits.issue_grant(account, CREDIT, "promotional", unique())


def scope(operation: str, tenants: Tenants) -> dict[str, Any]:
    """Return the arguments that narrow a list to the test's own rows."""
    if operation in ACCOUNT_LISTS:
        return {"organizationId": str(tenants.organization)}
    return {"projectId": str(tenants.project)} if operation == "organizations" else {}


def identity(node: dict[str, Any]) -> str:
    return str(node["id"])


async def pages(api: Api, operation: str, arguments: dict[str, Any], first: int) -> list[list[str]]:
    """Walk through all pages and return the ids of each."""
    walked: list[list[str]] = []
    after = None
    while True:
        page = (await api.run(operation, {**arguments, "first": first, "after": after})).result
        walked.append([identity(node) for node in page["nodes"]])
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return walked
        after = page["pageInfo"]["endCursor"]


@pytest.mark.parametrize("operation", LISTS)
async def test_pages_join_without_gap_or_double(
    operation: str, api: Api, tenants: Tenants, credits: Credits, accounts: Accounts
) -> None:
    for _ in range(6):
        await add(operation, tenants, credits, accounts)
    arguments = scope(operation, tenants)
    [everything] = await pages(api, operation, arguments, 100)
    walked = await pages(api, operation, arguments, 2)
    assert [id_ for page in walked for id_ in page] == everything
    assert len(set(everything)) == len(everything)
    assert {len(page) for page in walked[:-1]} == {2}
    # The total is of all pages, not of the one it comes with.
    page = (await api.run(operation, {**arguments, "first": 2, "count": True})).result
    assert page["totalCount"] == len(everything)


@pytest.mark.parametrize("operation", ACCOUNT_LISTS)
async def test_rows_added_between_pages_are_not_shown_and_hide_none(
    operation: str, api: Api, tenants: Tenants, credits: Credits, accounts: Accounts
) -> None:
    for _ in range(6):
        await add(operation, tenants, credits, accounts)
    arguments = scope(operation, tenants)
    [before] = await pages(api, operation, arguments, 100)
    seen: list[str] = []
    after = None
    while True:
        page = (await api.run(operation, {**arguments, "first": 2, "after": after})).result
        seen += [identity(node) for node in page["nodes"]]
        # Newest first: a new row stands before the first page.
        await add(operation, tenants, credits, accounts)
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert seen == before


@pytest.mark.parametrize("operation", ["organizations", "projects"])
async def test_rows_added_between_pages_come_at_the_end_of_lists_that_begin_with_the_oldest(
    operation: str, api: Api, tenants: Tenants, credits: Credits, accounts: Accounts
) -> None:
    arguments = scope(operation, tenants)
    [before] = await pages(api, operation, arguments, 100)
    page = (await api.run(operation, {**arguments, "first": 1})).result
    await add(operation, tenants, credits, accounts)
    cursor = page["pageInfo"]["endCursor"]
    rest = (await api.run(operation, {**arguments, "first": 100, "after": cursor})).result
    seen = [identity(node) for node in [*page["nodes"], *rest["nodes"]]]
    assert seen[: len(before)] == before
    assert len(seen) == len(before) + 1


@pytest.mark.parametrize("operation", ACCOUNT_LISTS)
async def test_lists_of_an_account_begin_with_the_newest(
    operation: str, api: Api, tenants: Tenants, credits: Credits, accounts: Accounts
) -> None:
    await add(operation, tenants, credits, accounts)
    [first] = await pages(api, operation, scope(operation, tenants), 100)
    await add(operation, tenants, credits, accounts)
    [second] = await pages(api, operation, scope(operation, tenants), 100)
    assert second[1:] == first


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1])
async def test_a_page_has_one_to_a_hundred_rows(
    first: int, operation: str, api: Api, tenants: Tenants
) -> None:
    answered = await api.run(operation, scope(operation, tenants) | {"first": first})
    [error] = answered.body["errors"]
    assert error["extensions"] == {
        "code": "VALIDATION_ERROR",
        "field": "first",
        "reason": "must be from 1 to 100",
        "requestId": answered.headers["x-request-id"],
    }
    assert answered.body["data"] is None


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


BAD_CURSORS = [
    "",
    "x",
    "ü",
    "\x00",
    "=" * 10,
    cursor(""),
    cursor("1:"),
    cursor("2:5"),
    cursor("1:x"),
    cursor("1:-1"),
    cursor("1:٣"),
    cursor("1:\x00"),
    cursor("1:" + "9" * 19),
    cursor("1:" + "9" * 5_000),
    base64.urlsafe_b64encode(b"1:\xff").decode(),
    "A" * 10_000,
]


@pytest.mark.parametrize("operation", LISTS)
async def test_a_cursor_that_is_none_is_refused(operation: str, api: Api, tenants: Tenants) -> None:
    for bad in BAD_CURSORS:
        answered = await api.run(operation, scope(operation, tenants) | {"after": bad})
        [error] = answered.body["errors"]
        assert (error["extensions"]["code"], error["extensions"]["field"]) == (
            "VALIDATION_ERROR",
            "after",
        ), bad


async def test_a_cursor_of_another_list_is_refused(api: Api, requests: Requests) -> None:
    await requests.reserve()
    variables = await requests.variables("creditReservations")
    page = (await api.run("creditReservations", variables)).result
    variables["after"] = page["pageInfo"]["endCursor"]
    assert (await api.run("creditTransactions", variables)).code == "VALIDATION_ERROR"


async def test_an_empty_page_has_no_cursors(api: Api, tenants: Tenants) -> None:
    variables = {"organizationId": str(tenants.organization), "count": True}
    assert (await api.run("creditReservations", variables)).result == {
        "nodes": [],
        "pageInfo": {
            "hasNextPage": False,
            "hasPreviousPage": False,
            "startCursor": None,
            "endCursor": None,
        },
        "totalCount": 0,
    }


async def test_edges_carry_the_cursors_of_their_nodes(api: Api, requests: Requests) -> None:
    for _ in range(3):
        await requests.grant()
    query = """
        query ($id: ID!, $after: String) {
          creditGrants(organizationId: $id, first: 2, after: $after) {
            edges { cursor node { id } }
            nodes { id }
            pageInfo { startCursor endCursor }
          }
        }
    """
    organization = (await requests.variables("creditGrants"))["organizationId"]
    page = (await api.send(query, {"id": organization})).result
    cursors = [edge["cursor"] for edge in page["edges"]]
    assert [edge["node"] for edge in page["edges"]] == page["nodes"]
    assert page["pageInfo"] == {"startCursor": cursors[0], "endCursor": cursors[1]}
    # Any row's cursor begins a page after it.
    rest = (await api.send(query, {"id": organization, "after": cursors[0]})).result
    assert rest["nodes"][0] == page["nodes"][1]


async def test_transactions_are_filtered(api: Api, tenants: Tenants, credits: Credits) -> None:
    organization = tenants.organization
    reserved = await credits.reserve(
        organization,
        ReserveRequest(unique(), CREDIT, feature="chat", end_customer_ref="customer-7"),
    )
    await credits.settle(organization, SettleRequest(reserved.reservation_id, CREDIT))
    await credits.deduct(organization, CREDIT, unique(), feature="image")
    rows = (await api.run("creditTransactions", {"organizationId": str(organization)})).result
    image, chat, opening = rows["nodes"]

    async def filtered(**narrowed: Any) -> list[dict[str, Any]]:
        variables = {"organizationId": str(organization), "filter": narrowed, "count": True}
        page = (await api.run("creditTransactions", variables, Caller.ORGANIZATION)).result
        assert page["totalCount"] == len(page["nodes"])
        nodes: list[dict[str, Any]] = page["nodes"]
        return nodes

    assert await filtered() == [image, chat, opening]
    assert await filtered(types=["CONSUMPTION"]) == [image, chat]
    assert await filtered(types=["CONSUMPTION", "TOP_UP"]) == [image, chat, opening]
    assert await filtered(types=["REFUND"]) == []
    assert await filtered(types=[]) == []
    assert await filtered(types=None, feature=None) == [image, chat, opening]
    assert await filtered(feature="chat") == [chat]
    assert await filtered(feature="CHAT") == []
    assert await filtered(feature="'; drop table credits.accounts; --") == []
    assert await filtered(endCustomerRef="customer-7") == [chat]
    assert await filtered(reservationId=str(reserved.reservation_id)) == [chat]
    assert await filtered(feature="image", endCustomerRef="customer-7") == []
    # From an instant on, and before an instant.
    assert await filtered(since=chat["createdAt"]) == [image, chat]
    assert await filtered(until=chat["createdAt"]) == [opening]
    assert await filtered(since=chat["createdAt"], until=image["createdAt"]) == [chat]


async def test_grants_are_filtered(api: Api, tenants: Tenants, credits: Credits) -> None:
    organization = tenants.organization
    await credits.issue_grant(organization, CREDIT, "referral", unique())
    rows = (await api.run("creditGrants", {"organizationId": str(organization)})).result
    referral, opening = rows["nodes"]
    for narrowed, expected in (
        ({"states": ["LIVE"]}, [referral, opening]),
        ({"states": ["CLOSED"]}, []),
        ({"sources": ["REFERRAL"]}, [referral]),
        ({"sources": ["REFERRAL"], "states": ["LAPSED"]}, []),
    ):
        variables = {"organizationId": str(organization), "count": True, **narrowed}
        page = (await api.run("creditGrants", variables)).result
        assert (page["nodes"], page["totalCount"]) == (expected, len(expected))


async def test_reservations_are_filtered(api: Api, tenants: Tenants, credits: Credits) -> None:
    organization = tenants.organization
    await credits.reserve(organization, ReserveRequest(unique(), CREDIT, feature="chat"))
    done = await credits.reserve(organization, ReserveRequest(unique(), CREDIT))
    await credits.settle(organization, SettleRequest(done.reservation_id, 0))
    rows = (await api.run("creditReservations", {"organizationId": str(organization)})).result
    settled, pending = rows["nodes"]
    for narrowed, expected in (
        ({"statuses": ["PENDING"]}, [pending]),
        ({"statuses": ["SETTLED", "PENDING"]}, [settled, pending]),
        ({"statuses": ["EXPIRED"]}, []),
        ({"feature": "chat"}, [pending]),
        ({"feature": "image"}, []),
    ):
        variables = {"organizationId": str(organization), "count": True, **narrowed}
        page = (await api.run("creditReservations", variables)).result
        assert (page["nodes"], page["totalCount"]) == (expected, len(expected))
