"""The statements each document sends: one more than is recorded is a diff to be explained.

What is recorded stands in `statements.json`, beginnings and ends of transactions included.
`RECORD_STATEMENTS=1 make test T=tests/graphql/test_statements.py` writes it anew, after a
change that is meant.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from app.core.database import Database
from app.credits import Credits
from db.driver import Connection
from tests.graphql.requests import Requests
from tests.graphql.test_pages import LISTS, add, scope
from tests.support.accounts import Accounts
from tests.support.api import Api, document, documents
from tests.support.callers import Caller, Tenants
from tests.support.clock import Clock

RECORDED = Path(__file__).with_name("statements.json")
EXPECTED: dict[str, list[str]] = json.loads(RECORDED.read_text("utf-8"))
RECORDED_NOW: dict[str, list[str]] = {}
IS_RECORDING = os.environ.get("RECORD_STATEMENTS") == "1"
# What a feed reads depends on who else watches: it is no document's own.
OPERATIONS = [name for name in documents() if not document(name).startswith("subscription")]

# Read from what a statement calls or reads first.
_SUBJECT = re.compile(r"\b(?:from|select)\s+((?:core|identity|catalog|credits|usage)\.\w+)")
# Once for each connection, the driver asks what the types are, without compiling for it.
_OF_THE_DRIVER = re.compile(r"typeinfo_tree|set_config\('jit'")
# Nested: read for all that are asked for at once.
BALANCES = ["credits.read_balances"]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch, api: Api) -> list[str]:
    """Everything that the server sends to Postgres from now on."""
    notes: list[str] = []
    lend = Database.connection

    def note(sent: asyncpg.connection.LoggedQuery) -> None:
        if not _OF_THE_DRIVER.search(sent.query):
            notes.append(sent.query)

    @asynccontextmanager
    async def noted(self: Database) -> AsyncIterator[Connection]:
        async with lend(self) as connection:
            if self is not api.database:
                yield connection
                return
            with cast("Any", connection).query_logger(note):
                yield connection

    monkeypatch.setattr(Database, "connection", noted)
    return notes


def subjects(statements: list[str]) -> list[str]:
    """Return what each statement calls or reads first, or how it begins."""
    return [_subject(" ".join(text.split())) for text in statements]


def _subject(text: str) -> str:
    found = _SUBJECT.search(text)
    if found is None:
        return text[:60]
    return f"count {found[1]}" if text.startswith("select count(") else found[1]


def compare(what: str, statements: list[str]) -> None:
    """Hold statements to what is recorded; while recording, to what was just before."""
    sent = subjects(statements)
    if IS_RECORDING and what not in RECORDED_NOW:
        RECORDED_NOW[what] = EXPECTED[what] = sent
        text = json.dumps(dict(sorted(RECORDED_NOW.items())), indent=2) + "\n"
        RECORDED.write_text(text, "utf-8")
    assert sent == EXPECTED.get(what), what


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_operation_sends_the_statements_it_needs(
    operation: str, api: Api, requests: Requests, statements: list[str]
) -> None:
    variables = await requests.variables(operation)
    assert (await api.run(operation, variables)).code == "OK"
    compare(operation, statements)


@pytest.mark.parametrize("operation", LISTS)
async def test_a_list_of_many_costs_what_a_list_of_one_does(
    operation: str,
    api: Api,
    tenants: Tenants,
    credits: Credits,
    accounts: Accounts,
    statements: list[str],
) -> None:
    for _ in range(12):
        await add(operation, tenants, credits, accounts)
    for first, rows in ((1, 1), (12, 12)):
        arguments = scope(operation, tenants) | {"first": first}
        statements.clear()
        assert len((await api.run(operation, arguments)).result["nodes"]) == rows
        compare(operation, statements)
        statements.clear()
        await api.run(operation, arguments | {"count": True})
        compare(f"{operation}, counted", statements)


def test_each_operation_is_recorded_and_nothing_else() -> None:
    counted = [f"{operation}, counted" for operation in LISTS]
    assert sorted(EXPECTED) == sorted([*OPERATIONS, *counted])


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
