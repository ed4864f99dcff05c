"""Hot reads answer what the executor answers, to every caller, and nothing to who may not see.

The same text with a space at its end is no document of the contract: it is executed.
"""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.credits import Actor, Credits, ReserveRequest, SettleRequest
from app.credits.shown import NotShownError, Shown, balance_statement, transactions_statement
from db.driver import Connection
from schema.engine import Engine
from tests.conftest import Servers
from tests.graphql.requests import Requests, everything
from tests.support.accounts import CREDIT, Accounts
from tests.support.api import Answer, Api, document, serving, settings_for, unique
from tests.support.callers import Caller, Tenants
from tests.support.clock import Clock

HOT = ("creditBalance", "creditBalanceCheck", "creditTransactions")
AMOUNT = {"amount": "3.25"}


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The names of the operations that were executed, whatever came of it."""
    names: list[str | None] = []
    make = Engine._executor

    def noted(self: Engine, operation: Any, variables: Any, context: Any) -> Any:
        names.append(operation.name)
        return make(self, operation, variables, context)

    monkeypatch.setattr(Engine, "_executor", noted)
    return names


async def _both(
    api: Api, operation: str, variables: dict[str, Any], caller: Caller = Caller.ADMIN
) -> tuple[Answer, Answer]:
    hot = await api.run(operation, variables, caller)
    executed = await api.send(document(operation) + " ", variables, caller)
    return hot, executed


def _told(answer: Answer) -> tuple[int, str, Any]:
    for error in answer.body.get("errors", ()):
        error["extensions"].pop("requestId", None)
    return answer.status, answer.headers["content-type"], list(_flat(answer.body))


def _flat(value: Any, path: str = "") -> Any:
    """Yield leaves with their paths: the order of keys counts, that of equal objects too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}")
        yield path, "object"
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{place}]")
        yield path, len(value)
    else:
        # One number in JSON, with and without a fraction of nothing.
        yield path, float(value) if type(value) is int else value


async def _live(credits: Credits, tenants: Tenants, requests: Requests) -> None:
    """Let an account of many colours have lived: every kind of row, null and not."""
    account = tenants.organization
    actor = Actor("project_key", "key-1", 'A "key" of Zoë \\ 🦉')
    told = ReserveRequest(
        unique(),
        1,
        feature="chat",
        quality="high",
        model="gpt-5",
        price_version="2026-11",
        end_customer_ref="customer/1",
        related_type="story",
        related_id="s-1",
        related_name="Line\nbreak\t\u2028",
        actor=actor,
        metadata={"tokens": 12, "share": 0.1, "deep": [None, True, {"ü": "\u0007"}], "big": 2**60},
    )
    for amount in (1, 1_000_001, 2_500_000):
        asked = told._replace(idempotency_key=unique(), amount=amount)
        row = await credits.reserve(account, asked)
        await credits.settle(account, SettleRequest(row.reservation_id, amount))
    await credits.issue_grant(account, 7 * CREDIT, "promotional", unique(), actor=actor)
    await credits.deduct(account, 101 * CREDIT, unique())
    await credits.adjust(account, -1, unique(), reason="by hand", actor=Actor("user", "", ""))
    await requests.variables("refundCredits")
    await requests.reserve(3)


@pytest.mark.parametrize("operation", HOT)
@pytest.mark.parametrize("caller", Caller)
async def test_every_caller_is_answered_as_by_the_executor(
    operation: str,
    caller: Caller,
    api: Api,
    tenants: Tenants,
    credits: Credits,
    requests: Requests,
    executed: list[str | None],
) -> None:
    await _live(credits, tenants, requests)
    for organization in (
        tenants.organization,
        tenants.sibling,
        tenants.organization_elsewhere,
        uuid4(),
    ):
        variables = {"organizationId": str(organization), **AMOUNT}
        executed.clear()
        hot, slow = await _both(api, operation, variables, caller)
        assert _told(hot) == _told(slow)
        if caller in (Caller.ADMIN, Caller.PROJECT) and organization == tenants.organization:
            # Answered, and not by the executor.
            assert hot.data
            assert len(executed) == 1


@pytest.mark.parametrize("state", ["new", "unlimited", "overdrawn", "odd"])
async def test_every_state_of_an_account_is_answered_as_by_the_executor(
    state: str,
    api: Api,
    accounts: Accounts,
    credits: Credits,
    clock: Clock,
    executed: list[str | None],
) -> None:
    if state == "odd":
        await clock.set(await clock.now() + timedelta(microseconds=1))
    account = await accounts.open(
        allowance=-1 if state == "unlimited" else 10 if state == "odd" else 0,
        overdraft=100 if state == "overdrawn" else 0,
    )
    if state == "overdrawn":
        row = await credits.reserve(account, ReserveRequest(unique(), 99_123_456))
        await credits.settle(account, SettleRequest(row.reservation_id, 99_123_457))
    if state == "odd":
        await credits.deduct(account, 3_333_333, unique())
    for operation in HOT:
        for amount in ("0", "0.000001", "10", 3, "1000000000000"):
            variables = {"organizationId": str(account), "amount": amount}
            executed.clear()
            hot, slow = await _both(api, operation, variables)
            assert _told(hot) == _told(slow)
            assert len(executed) == 1


@pytest.mark.parametrize("operation", HOT)
async def test_what_is_due_is_done_first(
    operation: str,
    api: Api,
    accounts: Accounts,
    clock: Clock,
    executed: list[str | None],
) -> None:
    account = await accounts.open(1, allowance=10)
    await clock.advance(timedelta(days=40))
    before = (await accounts.balance(account)).balance_version
    variables = {"organizationId": str(account), **AMOUNT}
    hot, slow = await _both(api, operation, variables)
    assert _told(hot) == _told(slow)
    if operation != "creditTransactions":
        assert (await accounts.balance(account)).balance_version > before
        assert len(executed) == 2


PAGES: list[dict[str, Any]] = [
    {"first": 1},
    {"first": 3},
    {"first": 100},
    {"first": 2, "after": "MTo1"},
    {"first": 2, "after": "MToy"},
    {"first": 2, "after": "MTox"},
    {"after": None},
    {"first": 2, "count": False},
]


@pytest.mark.parametrize("page", PAGES, ids=str)
async def test_every_page_is_answered_as_by_the_executor(
    page: dict[str, Any],
    api: Api,
    tenants: Tenants,
    credits: Credits,
    requests: Requests,
    executed: list[str | None],
) -> None:
    await _live(credits, tenants, requests)
    executed.clear()
    variables = {"organizationId": str(tenants.organization), **page}
    hot, slow = await _both(api, "creditTransactions", variables)
    assert hot.result["nodes"] or page.get("after") in ("MToy", "MTox")
    assert _told(hot) == _told(slow)
    assert len(executed) == 1


async def test_cursors_lead_through_all_pages(
    api: Api, tenants: Tenants, credits: Credits, requests: Requests
) -> None:
    await _live(credits, tenants, requests)
    variables: dict[str, Any] = {"organizationId": str(tenants.organization)}
    whole = (await api.run("creditTransactions", variables | {"first": 100})).result["nodes"]
    walked: list[Any] = []
    after = None
    while True:
        page = (
            await api.run("creditTransactions", variables | {"first": 2, "after": after})
        ).result
        walked += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert walked == whole


BAD: dict[str, dict[str, Any]] = {
    "no account": {"organizationId": None},
    "account left out": {},
    "no id": {"organizationId": "nonsense"},
    "a number for an id": {"organizationId": 5},
    "an object for an id": {"organizationId": {}},
    "no amount": {"amount": None},
    "amount below zero": {"amount": "-1"},
    "amount of seven places": {"amount": "0.0000001"},
    "amount as a float": {"amount": 1.5},
    "amount as a truth": {"amount": True},
    "amount beyond all bounds": {"amount": "1000000000001"},
    "first of none": {"first": 0},
    "first too large": {"first": 101},
    "first below zero": {"first": -1},
    "first as a text": {"first": "5"},
    "first as a float": {"first": 5.0},
    "first as a truth": {"first": True},
    "first beyond Int": {"first": 2**31},
    "no first": {"first": None},
    "cursor of nothing": {"after": "nonsense"},
    "cursor of an id": {"after": "MTp4"},
    "cursor with a sign": {"after": "MTotMQ=="},
    "cursor as a number": {"after": 5},
    "filter": {"filter": {"types": ["CONSUMPTION"]}},
    "filter of nothing": {"filter": {}},
    "wrong filter": {"filter": {"types": ["NOTHING"]}},
    "counted": {"count": True},
    "count as a text": {"count": "yes"},
    "no count": {"count": None},
    "unknown variable": {"other": 1},
}


@pytest.mark.parametrize("operation", HOT)
@pytest.mark.parametrize("what", BAD)
async def test_whatever_is_sent_is_answered_as_by_the_executor(
    what: str, operation: str, api: Api, tenants: Tenants, admin: Connection
) -> None:
    good = {"organizationId": str(tenants.organization), **AMOUNT}
    variables = {} if what == "account left out" else good | BAD[what]
    before = await everything(admin)
    hot, slow = await _both(api, operation, variables)
    assert _told(hot) == _told(slow)
    assert await everything(admin) == before


@pytest.mark.parametrize("operation", HOT)
async def test_a_missing_account_of_an_organization_is_told(
    operation: str, api: Api, tenants: Tenants, admin: Connection
) -> None:
    missing = await admin.fetchval(
        "insert into identity.organizations (id, project_id, name, created_at, updated_at)"
        " values (core.uuidv7(), $1, 'x', core.clock(), core.clock()) returning id",
        tenants.project,
    )
    hot, slow = await _both(api, operation, {"organizationId": str(missing), **AMOUNT})
    assert _told(hot) == _told(slow)
    if operation != "creditTransactions":
        assert hot.code == "BALANCE_NOT_FOUND"


@pytest.mark.parametrize("operation", HOT)
async def test_a_failure_is_told_in_the_same_place(
    operation: str, servers: Servers, database_name: str, tenants: Tenants
) -> None:
    settings = settings_for(servers.app_url(database_name), servers.redis)
    async with serving(settings) as api:
        await api.database.close()
        variables = {"organizationId": str(tenants.organization), **AMOUNT}
        hot, slow = await _both(api, operation, variables)
        assert hot.code == "UNAVAILABLE"
        assert hot.body["errors"][0]["locations"]
        assert _told(hot) == _told(slow)


def test_fields_that_no_statement_shows_are_left_to_the_executor() -> None:
    with pytest.raises(NotShownError):
        balance_statement([Shown("nothing", "nothing")])
    with pytest.raises(NotShownError):
        balance_statement([Shown("available", "available"), Shown("available", "available")])
    with pytest.raises(NotShownError):
        balance_statement([Shown("a" * 64, "available")])
    with pytest.raises(NotShownError):
        transactions_statement([Shown("edges", "edges")])
