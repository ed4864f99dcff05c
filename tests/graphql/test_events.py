"""Real messages and events, held against the schemas of the contract."""

import asyncio
import json
import re
from typing import Any

import pytest
from graphql import GraphQLEnumType
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no stubs

from app.credits import Credits
from db.driver import Connection
from schema.build import make_schema
from tests.graphql.requests import Requests
from tests.support.accounts import CREDIT, Accounts
from tests.support.api import CONTRACT, Api, document, unique
from tests.support.callers import Tenants

EVENTS = CONTRACT / "events"
MESSAGES = ["creditBalanceUpdated", "creditTransactionAdded", "reservationUpdated"]
PAYLOADS = ["credits.depleted", "credits.granted", "credits.low_balance"]


def schema_of(name: str) -> dict[str, Any]:
    text = (EVENTS / f"{name}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def wrong(name: str, message: object) -> list[str]:
    """Return what a schema finds wrong with a message."""
    validator = Draft202012Validator(schema_of(name))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(message)]


def test_each_subscription_and_each_event_has_a_schema() -> None:
    names = sorted(path.name.removesuffix(".schema.json") for path in EVENTS.iterdir())
    assert names == sorted([*MESSAGES, *PAYLOADS])


@pytest.mark.parametrize("name", [*MESSAGES, *PAYLOADS])
def test_a_schema_is_one_and_knows_its_own_name(name: str) -> None:
    loaded = schema_of(name)
    Draft202012Validator.check_schema(loaded)
    assert (loaded["title"], loaded["$id"]) == (name, f"{name}.schema.json")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_schema_knows_the_fields_of_its_document(name: str) -> None:
    fields = re.search(r"fragment \w+ on \w+ \{\n(.*)\n\}\n\Z", document(name), re.DOTALL)
    assert fields is not None
    asked = re.findall(r"^  (\w+)", fields.group(1), re.MULTILINE)
    body = schema_of(name)["properties"]["data"]["properties"][name]
    assert list(body["properties"]) == asked
    assert body["required"] == asked


def test_the_schemas_know_every_value_of_the_enums() -> None:
    types = make_schema()._schema.type_map

    def values(name: str) -> list[str]:
        enum = types[name]
        assert isinstance(enum, GraphQLEnumType)
        return list(enum.values)

    def body(name: str) -> Any:
        return schema_of(name)["properties"]["data"]["properties"][name]["properties"]

    assert body("creditTransactionAdded")["type"]["enum"] == values("TransactionType")
    assert body("reservationUpdated")["status"]["enum"] == values("ReservationStatus")
    sources = schema_of("credits.granted")["properties"]["source"]["enum"]
    assert sources == [value.lower() for value in values("GrantSource")]


async def collect(
    api: Api, operation: str, organization: str, acts: list[tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Watch while acts are done, one after the other; return the messages of all."""
    seen: list[dict[str, Any]] = []
    variables = {"organizationId": organization}
    async with api.watch(operation, variables) as messages, asyncio.timeout(20):
        if operation != "creditTransactionAdded":
            seen.append(await anext(messages))
        else:
            # Quiet at first: rows are added until the first one is told.
            told = asyncio.ensure_future(anext(messages))
            while not told.done():
                request = {"amount": "0.01", "idempotencyKey": unique(), **variables}
                await api.run("deductCredits", {"input": request})
                await asyncio.wait([told], timeout=0.1)
            seen.append(await told)
        for act, request in acts:
            assert (await api.run(act, {"input": request})).code == "OK"
            seen.append(await anext(messages))
    return seen


async def test_messages_of_a_balance_fit(api: Api, requests: Requests) -> None:
    deduct = (await requests.variables("deductCredits"))["input"]
    unlimited = {
        "organizationId": deduct["organizationId"],
        "idempotencyKey": unique(),
        "unlimited": True,
    }
    acts = [("deductCredits", deduct), ("updateOrganizationSettings", unlimited)]
    name = "creditBalanceUpdated"
    messages = await collect(api, name, deduct["organizationId"], acts)
    assert [wrong(name, message) for message in messages] == [[], [], []]
    assert [message["data"][name]["allowance"] for message in messages] == ["0", "0", None]


async def test_messages_of_the_ledger_fit(api: Api, requests: Requests) -> None:
    settle = (await requests.variables("settleCredits"))["input"]
    deduct = (await requests.variables("deductCredits"))["input"] | {
        "feature": "chat",
        "related": {"type": "document", "id": "d-1"},
        "metadata": {"a": [1]},
    }
    name = "creditTransactionAdded"
    acts = [("settleCredits", settle), ("deductCredits", deduct)]
    messages = await collect(api, name, deduct["organizationId"], acts)
    assert [wrong(name, message) for message in messages] == [[]] * len(messages)


async def test_messages_of_reservations_fit(api: Api, requests: Requests) -> None:
    reservation = str(await requests.reserve())
    reserve = (await requests.variables("reserveCredits"))["input"]
    settle = {
        "organizationId": reserve["organizationId"],
        "reservationId": reservation,
        "amount": "0.000001",
    }
    name = "reservationUpdated"
    acts = [("reserveCredits", reserve), ("settleCredits", settle)]
    messages = await collect(api, name, reserve["organizationId"], acts)
    assert [wrong(name, message) for message in messages] == [[], [], []]
    assert [message["data"][name]["status"] for message in messages] == [
        "PENDING",
        "PENDING",
        "SETTLED",
    ]


async def test_events_of_the_outbox_fit(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    organization = await accounts.open(10, allowance=100)
    await credits.deduct(organization, 95 * CREDIT, unique())
    await credits.deduct(organization, 15 * CREDIT, unique())
    rows = await admin.fetch(
        "select type, payload from events.outbox where account_id = $1 order by version",
        organization,
    )
    assert [row["type"] for row in rows] == [
        "credits.granted",
        "credits.granted",
        "credits.low_balance",
        "credits.depleted",
    ]
    assert [wrong(row["type"], row["payload"]) for row in rows] == [[]] * 4


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("creditBalanceUpdated", ("available",), 12.5),
        ("creditBalanceUpdated", ("available",), "12.50"),
        ("creditBalanceUpdated", ("available",), "-1"),
        ("creditBalanceUpdated", ("version",), "3"),
        ("creditBalanceUpdated", ("periodEnd",), "2026-04-10T10:00:00"),
        ("creditBalanceUpdated", ("surprise",), 1),
    ],
)
async def test_a_schema_refuses_what_is_wrong(
    name: str, path: tuple[str, ...], value: Any, api: Api, tenants: Tenants
) -> None:
    answered = await api.first(name, {"organizationId": str(tenants.organization)})
    assert wrong(name, answered.body) == []
    answered.body["data"][name][path[0]] = value
    assert wrong(name, answered.body) != []
