"""Metadata: a JSON object of the caller's, of bounded size, given back as it came."""

import json
from typing import Any

import pytest

from db.driver import Connection
from tests.graphql.requests import Requests, everything
from tests.support.api import Api
from tests.support.callers import Tenants

OPERATIONS = ["reserveCredits", "deductCredits", "grantCredits", "adjustCredits"]
LIMIT = 16_384


def nested(levels: int) -> dict[str, Any]:
    """Return an object of so many levels."""
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def sized(size: int) -> dict[str, Any]:
    """Return an object that takes so many bytes as JSON."""
    return {"a": "x" * (size - len('{"a":""}'))}


TOO_MUCH: list[Any] = [
    sized(LIMIT + 1),
    {"a": "ü" * (LIMIT // 2)},
    {str(number): number for number in range(3_000)},
    {"a": "\x00"},
    {"a\x00b": 1},
    {"a": [{"b": "c\x00"}]},
    {"backslash and NUL": "\\\x00"},
    nested(65),
    nested(300),
]


async def kept(api: Api, requests: Requests, metadata: Any) -> Any:
    """Reserve with metadata and return what the list of reservations shows of it."""
    variables = await requests.variables("reserveCredits")
    variables["input"]["metadata"] = metadata
    assert (await api.run("reserveCredits", variables)).code == "OK"
    shown = {"organizationId": variables["input"]["organizationId"], "first": 1}
    [row] = (await api.run("creditReservations", shown)).result["nodes"]
    return row["metadata"]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        {"": ""},
        {"a": None, "b": [1, [2, {}]], "c": {"d": True}},
        {"text": 'ü 𝄞 \t\n"\\ \u2028 \x7f'},
        {"spelt, not meant": "\\u0000 and \\\\u0000"},
        {"numbers": [0, -1, 0.1, 1e-9, 2**53, 2**63 - 1, -(2**63), 2**64 - 1]},
        nested(64),
        {"a": [[[[{"b": [{}]}]]]]},
        sized(LIMIT),
    ],
    ids=lambda metadata: str(metadata)[:20],
)
async def test_metadata_comes_back_as_it_went(metadata: Any, api: Api, requests: Requests) -> None:
    assert await kept(api, requests, metadata) == metadata


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_metadata_is_an_object(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    shapes: tuple[Any, ...] = ("x", "", 5, 1.5, True, [], [{}])
    for metadata in shapes:
        variables["input"]["metadata"] = metadata
        result = (await api.run(operation, variables)).result
        assert (result["__typename"], result["field"], result["reason"]) == (
            "InvalidInput",
            "metadata",
            "must be an object",
        )
    assert await everything(admin) == before


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_metadata_is_bounded_and_holds_no_nul(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    for metadata in TOO_MUCH:
        variables["input"]["metadata"] = metadata
        result = (await api.run(operation, variables)).result
        assert (result["__typename"], result["field"]) == ("InvalidInput", "metadata")
    assert await everything(admin) == before


async def test_usage_has_metadata_of_its_own_with_the_same_bounds(
    api: Api, requests: Requests, tenants: Tenants, admin: Connection
) -> None:
    variables = await requests.variables("settleCredits")
    variables["input"]["usage"] = {"metadata": sized(LIMIT + 1)}
    result = (await api.run("settleCredits", variables)).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", "metadata")
    variables["input"]["usage"] = {"metadata": {"run": [1]}}
    assert (await api.run("settleCredits", variables)).code == "OK"
    stored = await admin.fetchval(
        "select metadata from usage.records where account_id = $1", tenants.organization
    )
    assert stored == {"run": [1]}


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, "9" * 5_000, "1e999", "-1e999"])
async def test_a_number_of_a_literal_that_cannot_be_kept_is_refused(
    number: int | str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("reserveCredits")
    request = variables["input"]
    before = await everything(admin)
    answered = await api.send(
        f'mutation {{ reserveCredits(input: {{organizationId: "{request["organizationId"]}",'
        f" amount: 1, idempotencyKey: {json.dumps(request['idempotencyKey'])},"
        f" metadata: {{a: {number}}}}}) {{ ... on Refusal {{ code message }} }} }}"
    )
    assert (answered.status, answered.code) == (200, "VALIDATION_ERROR")
    assert await everything(admin) == before


async def test_a_literal_is_read_as_the_same_json(api: Api, requests: Requests) -> None:
    request = (await requests.variables("reserveCredits"))["input"]
    answered = await api.send(
        "mutation ($key: String!, $value: JSON) { reserveCredits(input: {"
        f'organizationId: "{request["organizationId"]}", amount: 1, idempotencyKey: $key,'
        " metadata: {a: [1, 2.5, null, true, RED], b: {c: $value}}"
        "}) { ... on Refusal { code message } ... on ReserveCreditsSuccess { replayed } } }",
        {"key": request["idempotencyKey"], "value": {"d": 1}},
    )
    assert answered.result == {"replayed": False}
    shown = {"organizationId": request["organizationId"], "first": 1}
    [row] = (await api.run("creditReservations", shown)).result["nodes"]
    assert row["metadata"] == {"a": [1, 2.5, None, True, "RED"], "b": {"c": {"d": 1}}}
