"""Faults of ours: coded, with the request's id, and without a word of what happened."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.core.database import Database
from app.core.refusals import CATALOGUE, Refusal
from app.credits import Credits
from app.credits.feed import Feed
from app.credits.shown import ShownCredits
from db.driver import Connection
from tests.conftest import Servers
from tests.graphql.requests import Requests, everything
from tests.support.api import Answer, Api, document, serving, settings_for
from tests.support.callers import Caller, Tenants

SECRET = "postgresql://app:hunter2@db.internal/credits"  # noqa: S105  # a word to look for
# What would tell of our inside.
TRACES = (
    SECRET,
    "hunter2",
    "Traceback",
    'File "',
    "asyncpg",
    "select ",
    "RuntimeError",
    "credits.check_balance",
    "relation",
)
NOBODY = "00000000-0000-4000-8000-000000000000"
FAULTS: list[BaseException] = [
    RuntimeError(SECRET),
    ValueError(SECRET),
    TypeError(SECRET),
    KeyError(SECRET),
    RecursionError(SECRET),
    AssertionError(SECRET),
    asyncpg.UndefinedColumnError(f'column "{SECRET}" of relation "accounts" does not exist'),
    asyncpg.CheckViolationError(f'new row for relation "accounts" violates "{SECRET}"'),
    ExceptionGroup(SECRET, [RuntimeError(SECRET)]),
]


def only_error(answered: Answer) -> dict[str, Any]:
    """Return the only error of an answer; no fault of ours may show in it."""
    [error] = answered.body["errors"]
    text = json.dumps(answered.body, ensure_ascii=False)
    assert [trace for trace in TRACES if trace in text] == []
    assert error["extensions"]["requestId"] == answered.headers["x-request-id"]
    assert error["extensions"]["code"] in CATALOGUE
    assert set(error) <= {"message", "locations", "path", "extensions"}
    return dict(error)


@pytest.mark.parametrize("way", ["executed", "hot"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_fault_in_a_resolver_is_masked_and_logged(
    fault: BaseException,
    way: str,
    api: Api,
    requests: Requests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[tuple[str, Any]] = []

    class Log:
        def error(self, event: str, **facts: Any) -> None:
            logged.append((event, facts["exc_info"]))

    async def fail(*_: Any, **_named: Any) -> None:
        raise fault

    if way == "hot":
        monkeypatch.setattr(ShownCredits, "read", fail)
    else:
        monkeypatch.setattr(Credits, "check_balance", fail)
    monkeypatch.setattr("schema.errors.log", Log())
    variables = await requests.variables("creditBalance")
    # Executed is what is not, to the letter, a document of the contract.
    text = document("creditBalance") + (" " if way == "executed" else "")
    answered = await api.send(text, variables)
    error = only_error(answered)
    assert (answered.status, answered.body["data"]) == (200, None)
    assert (error["message"], error["path"]) == (CATALOGUE["INTERNAL"].message, ["creditBalance"])
    assert error["extensions"] == {
        "code": "INTERNAL",
        "requestId": answered.headers["x-request-id"],
    }
    assert logged == [("graphql.failed", fault)]


async def test_a_fault_in_a_mutation_is_masked(
    api: Api, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Credits, "reserve", fail)
    answered = await api.run("reserveCredits", await requests.variables("reserveCredits"))
    assert only_error(answered)["extensions"]["code"] == "INTERNAL"


async def test_a_fault_in_a_subscription_is_masked(
    api: Api, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def fail(*_: Any) -> AsyncIterator[None]:
        raise RuntimeError(SECRET)
        yield

    monkeypatch.setattr(Feed, "watch", fail)
    variables = await requests.variables("creditBalanceUpdated")
    answered = await api.first("creditBalanceUpdated", variables)
    assert only_error(answered)["extensions"]["code"] == "INTERNAL"


async def test_one_field_that_fails_leaves_the_others_their_data(
    api: Api, tenants: Tenants
) -> None:
    query = """
        query ($own: ID!, $other: ID!) {
          own: creditBalance(organizationId: $own) { available }
          projects { nodes { id } }
          other: organization(id: $other) { id }
        }
    """
    variables = {
        "own": str(tenants.organization),
        "other": str(tenants.organization_elsewhere),
    }
    answered = await api.send(query, variables, Caller.PROJECT)
    # Every root field is required: one that fails takes the whole answer with it.
    assert answered.body["data"] is None
    error = only_error(answered)
    assert (error["path"], error["extensions"]["code"]) == (["other"], "NOT_FOUND")


async def test_a_refusal_that_no_union_lists_is_an_error_with_its_facts(
    api: Api, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> None:
        raise Refusal("BALANCE_LIMIT", {"limit": 9_000_000_000_000_000_000})

    monkeypatch.setattr(Credits, "reserve", refuse)
    answered = await api.run("reserveCredits", await requests.variables("reserveCredits"))
    # Credits are decimal strings in credits wherever they stand.
    assert only_error(answered)["extensions"] == {
        "code": "BALANCE_LIMIT",
        "limit": "9000000000000",
        "requestId": answered.headers["x-request-id"],
    }


async def test_a_refusal_that_a_union_lists_carries_its_facts(api: Api, requests: Requests) -> None:
    variables = await requests.variables("reserveCredits")
    variables["input"]["amount"] = "250.5"
    result = (await api.run("reserveCredits", variables)).result
    entry = CATALOGUE["INSUFFICIENT_CREDITS"]
    assert result == {
        "__typename": "InsufficientCredits",
        "code": "INSUFFICIENT_CREDITS",
        "message": f"{entry.message} {entry.advice}",
        "required": "250.5",
        "spendable": "100",
        "shortfall": "150.5",
    }


async def test_a_closed_pool_is_unavailable(
    servers: Servers, database_name: str, tenants: Tenants
) -> None:
    settings = settings_for(servers.app_url(database_name), servers.redis)
    async with serving(settings) as api:
        api.keys = tenants.keys
        await api.database.close()
        variables = {"organizationId": str(tenants.organization)}
        # An administrator's key is known without asking anybody; the field then fails.
        answered = await api.run("creditBalance", variables, Caller.ADMIN)
        assert (answered.status, only_error(answered)["extensions"]["code"]) == (200, "UNAVAILABLE")
        # Whose key it is cannot be found out: the whole request fails.
        answered = await api.run("creditBalance", variables, Caller.PROJECT)
        assert (answered.status, only_error(answered)["extensions"]["code"]) == (503, "UNAVAILABLE")
        answered = await api.first("creditBalanceUpdated", variables, Caller.ADMIN)
        assert (answered.status, only_error(answered)["extensions"]["code"]) == (200, "UNAVAILABLE")


async def test_an_argument_that_fits_no_parameter_is_a_fault_and_no_outage(
    database: Database,
) -> None:
    # Nothing was sent: to advise a retry would be wrong.
    with pytest.raises(asyncpg.DataError, match="int64"):
        await database.value("select $1::bigint", 2**70)


async def blocked(admin: Connection, pid: int) -> int:
    """Wait until somebody waits for a process, and return who."""
    for _ in range(1_500):
        found = await admin.fetchval(
            "select pid from pg_stat_activity where $1 = any(pg_blocking_pids(pid))", pid
        )
        if found is not None:
            return int(found)
        await asyncio.sleep(0.001)
    raise AssertionError("nobody waits")


@contextlib.asynccontextmanager
async def locked(servers: Servers, name: str, tenants: Tenants) -> AsyncIterator[Connection]:
    """Hold the lock of the organization's account."""
    connection = await asyncpg.connect(servers.admin_url(name))
    try:
        async with connection.transaction():
            await connection.execute(
                "select from credits.accounts where account_id = $1 for update",
                tenants.organization,
            )
            yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_statement_that_is_cut_off_is_unavailable_and_has_moved_nothing(
    how: str,
    servers: Servers,
    database_name: str,
    api: Api,
    requests: Requests,
    tenants: Tenants,
    admin: Connection,
) -> None:
    variables = await requests.variables("reserveCredits")
    before = await everything(admin)
    async with locked(servers, database_name, tenants) as holder:
        asked = asyncio.create_task(api.run("reserveCredits", variables))
        waiting = await blocked(admin, holder.get_server_pid())
        await admin.execute(f"select {how}($1)", waiting)
        answered = await asked
    assert only_error(answered)["extensions"] == {
        "code": "UNAVAILABLE",
        "requestId": answered.headers["x-request-id"],
    }
    assert await everything(admin) == before
    # The same request with the same key, as the advice says.
    assert (await api.run("reserveCredits", variables)).result["replayed"] is False


async def test_an_account_that_stays_locked_is_busy(
    servers: Servers,
    database_name: str,
    api: Api,
    requests: Requests,
    tenants: Tenants,
    admin: Connection,
) -> None:
    variables = await requests.variables("reserveCredits")
    before = await everything(admin)
    async with locked(servers, database_name, tenants):
        result = (await api.run("reserveCredits", variables)).result
    assert (result["__typename"], result["code"]) == ("Busy", "BUSY")
    assert await everything(admin) == before


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_INVALID"),
        ("{ nothing }", "GRAPHQL_INVALID"),
        ("{ projects(first: nine) { nodes { id } } }", "GRAPHQL_INVALID"),
        ("query ($id: ID!) { organization(id: $id) { id } }", "GRAPHQL_INVALID"),
        ("{ projects(first: 0) { nodes { id } } }", "VALIDATION_ERROR"),
        ('{ organization(id: "x") { id } }', "VALIDATION_ERROR"),
        (f'{{ organization(id: "{NOBODY}") {{ id }} }}', "NOT_FOUND"),
        (f'{{ creditBalance(organizationId: "{NOBODY}") {{ version }} }}', "BALANCE_NOT_FOUND"),
    ],
)
async def test_every_error_has_its_code_and_the_requests_id(
    query: str, code: str, api: Api
) -> None:
    error = only_error(await api.send(query))
    assert error["extensions"]["code"] == code


async def test_several_errors_each_have_their_code(api: Api) -> None:
    answered = await api.send("{ nothing nobody nowhere }")
    codes = [error["extensions"]["code"] for error in answered.body["errors"]]
    assert codes == ["GRAPHQL_INVALID"] * 3
    ids = {error["extensions"]["requestId"] for error in answered.body["errors"]}
    assert ids == {answered.headers["x-request-id"]}


async def test_the_ids_of_requests_at_once_are_not_mixed_up(api: Api) -> None:
    async def ask(number: int) -> str:
        response = await api.http.post(
            "/graphql", json={"query": "{ nothing }"}, headers={"x-request-id": f"request-{number}"}
        )
        [error] = response.json()["errors"]
        return str(error["extensions"]["requestId"])

    numbers = range(20)
    assert await asyncio.gather(*map(ask, numbers)) == [f"request-{n}" for n in numbers]


async def test_an_error_names_where_in_the_document_it_is(api: Api) -> None:
    error = only_error(await api.send("{\n  nothing\n}"))
    assert error["locations"] == [{"line": 2, "column": 3}]
