"""The statements each document sends: one more than these is a diff to be explained."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from app.core.database import Database
from db.driver import Connection
from tests.graphql.requests import Requests
from tests.support.accounts import Accounts
from tests.support.api import Api
from tests.support.callers import Caller, Tenants
from tests.support.clock import Clock

# Read from what a statement calls or reads first.
_SUBJECT = re.compile(r"\b(?:from|select)\s+((?:core|identity|credits|usage)\.\w+)")

BALANCE = ["credits.check_balance"]
# Nested: read for all that are asked for at once.
BALANCES = ["credits.read_balances"]
EXPECTED: dict[str, list[str]] = {
    "creditBalance": BALANCE,
    "creditBalanceCheck": BALANCE,
    "creditGrants": ["credits.grants"],
    "creditReservations": ["credits.reservations"],
    "creditTransactions": ["credits.transactions"],
    "organization": ["identity.organizations", *BALANCES],
    "organizations": ["identity.organizations"],
    "projects": ["identity.projects"],
    "reserveCredits": ["credits.reserve"],
    "extendReservation": ["credits.extend"],
    "settleCredits": ["credits.settle"],
    "releaseCredits": ["credits.release"],
    "deductCredits": ["credits.deduct"],
    "grantCredits": ["credits.issue_grant"],
    "adjustCredits": ["credits.adjust"],
    "refundCredits": ["credits.refund"],
    "voidGrant": ["credits.void_grant"],
    "forgiveOverage": ["credits.forgive_overage"],
    "updateOrganizationSettings": ["credits.set_terms"],
    "createProject": [
        "core.idempotency_begin",
        "identity.create_project",
        "core.idempotency_complete",
    ],
    "createOrganization": [
        "core.idempotency_begin",
        "identity.create_organization",
        "core.idempotency_complete",
        *BALANCES,
    ],
    "createProjectKey": [
        "core.idempotency_begin",
        "identity.create_api_key",
        "core.idempotency_complete",
    ],
    "revokeKey": ["identity.revoke_api_key"],
    "createOrganizationKey": [
        # Whose project the key will belong to.
        "identity.organizations",
        "core.idempotency_begin",
        "identity.create_api_key",
        "core.idempotency_complete",
    ],
}


class Recorder:
    """A connection that notes what passes through it."""

    def __init__(self, connection: Connection, notes: list[str]) -> None:
        self._connection = connection
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        self._notes.append(statement)
        return await self._connection.fetch(statement, *arguments)

    async def fetchval(self, statement: str, *arguments: Any) -> Any:
        self._notes.append(statement)
        return await self._connection.fetchval(statement, *arguments)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is sent to Postgres through `Database` from now on."""
    notes: list[str] = []
    lend = Database.connection

    @asynccontextmanager
    async def noted(self: Database) -> AsyncIterator[Recorder]:
        async with lend(self) as connection:
            yield Recorder(connection, notes)

    monkeypatch.setattr(Database, "connection", noted)
    return notes


def subjects(statements: list[str]) -> list[str]:
    found = [_SUBJECT.search(statement) for statement in statements]
    return [match.group(1) for match in found if match is not None]


@pytest.mark.parametrize("operation", sorted(EXPECTED))
async def test_an_operation_sends_the_statements_it_needs(
    operation: str, api: Api, requests: Requests, statements: list[str]
) -> None:
    variables = await requests.variables(operation)
    statements.clear()
    assert (await api.run(operation, variables)).code == "OK"
    assert subjects(statements) == EXPECTED[operation]


async def test_a_key_costs_one_lookup_and_its_project_another_the_first_time(
    api: Api, requests: Requests, statements: list[str]
) -> None:
    variables = await requests.variables("creditGrants")
    await api.run("creditGrants", variables, Caller.PROJECT)
    assert subjects(statements) == [
        "identity.find_api_key",
        "identity.organizations",
        "credits.grants",
    ]
    statements.clear()
    await api.run("creditGrants", variables, Caller.PROJECT)
    assert subjects(statements) == ["identity.find_api_key", "credits.grants"]


@pytest.mark.parametrize("operation", ["creditBalance", "creditBalanceCheck", "creditTransactions"])
async def test_a_hot_read_is_one_statement_which_holds_the_right_to_see(
    operation: str, api: Api, requests: Requests, statements: list[str]
) -> None:
    variables = {**await requests.variables("creditBalanceCheck")}
    await api.run(operation, variables, Caller.PROJECT)
    [key, read] = statements
    assert "identity.find_api_key" in key
    assert "o.project_id" in read


@pytest.mark.parametrize(
    "operation",
    ["creditGrants", "creditReservations", "creditTransactions", "organizations", "projects"],
)
async def test_a_total_is_counted_only_where_it_is_asked_for(
    operation: str, api: Api, requests: Requests, statements: list[str]
) -> None:
    variables = await requests.variables(operation)
    await api.run(operation, variables)
    assert [text for text in statements if "count(" in text] == []
    page = (await api.run(operation, variables | {"count": True})).result
    [counting] = [text for text in statements if "count(" in text]
    assert counting.startswith("select count(*)")
    assert isinstance(page["totalCount"], int)


async def test_a_page_costs_one_statement_however_long_it_is(
    api: Api, requests: Requests, statements: list[str]
) -> None:
    for _ in range(12):
        await requests.variables("refundCredits")
    statements.clear()
    variables = await requests.variables("creditTransactions")
    page = (await api.run("creditTransactions", variables | {"first": 100})).result
    # The opening grant and each of the settles.
    assert len(page["nodes"]) == 13
    assert subjects(statements) == ["credits.transactions"]


async def test_balances_of_a_page_of_organizations_cost_one_statement(
    api: Api,
    accounts: Accounts,
    tenants: Tenants,
    statements: list[str],
    admin: Connection,
    clock: Clock,
) -> None:
    await accounts.open(1, project_id=tenants.project)
    statements.clear()
    query = """
        query ($id: ID) {
          organizations(projectId: $id) {
            nodes { again: creditBalance { available } creditBalance { available } }
          }
        }
    """
    page = (await api.send(query, {"id": str(tenants.project)})).result
    available = [node["creditBalance"]["available"] for node in page["nodes"]]
    assert available == ["100", "100", "1"]
    assert [node["again"]["available"] for node in page["nodes"]] == available
    assert subjects(statements) == ["identity.organizations", *BALANCES]
    # Where something is due, it is worked first: a read is never behind time.
    await clock.advance(timedelta(days=40))
    statements.clear()
    await api.send(query, {"id": str(tenants.project)})
    assert subjects(statements)[1:] == [
        "credits.read_balances",
        *["credits.catch_up"] * 3,
        "credits.read_balances",
    ]
    # An organization whose account is missing says so, and spares the others.
    missing = await admin.fetchval(
        "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
        " values (core.uuidv7(), $1, 'x', core.clock(), core.clock()) returning id",
        tenants.project,
    )
    errors = (await api.send(query, {"id": str(tenants.project)})).body["errors"]
    told = {(error["extensions"]["code"], error["extensions"]["accountId"]) for error in errors}
    assert told == {("BALANCE_NOT_FOUND", str(missing))}
