"""Every text of every input: NUL, too long, not an id. Never an error of ours."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from app.core.database import Database
from db.driver import Connection
from schema.build import make_schema
from tests.graphql.requests import Requests, everything
from tests.support.api import Api, documents, unique
from tests.support.callers import Tenants

SCHEMA = make_schema()._schema
SUBSCRIPTIONS = {
    "creditBalanceUpdated",
    "creditTransactionAdded",
    "reservationUpdated",
    "chatCompletionStream",
}
# What a model is to read may be long; how long is bounded in its own test.
FOR_MODELS = {"input.messages.content", "input.prompt"}
OPERATIONS = [name for name in documents() if name not in SUBSCRIPTIONS]
LONG = "x" * 10_000
# Ids of the caller's own system: any text up to 255 characters.
FOREIGN_IDS = {"input.related.id"}
NO_IDS = ["", "x", "0", "null", "00000000-0000-4000-8000-00000000000g", " ", LONG, 5, -1, 2**53]


def texts(operation: str, *kinds: str) -> Iterator[str]:
    """Yield the paths of all inputs of an operation that hold one of some scalars."""
    for root in (SCHEMA.query_type, SCHEMA.mutation_type):
        assert root is not None
        if operation in root.fields:
            for name, argument in root.fields[operation].args.items():
                yield from _walk(name, argument.type, kinds)


def _walk(path: str, type_: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    named = get_named_type(type_)
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from _walk(f"{path}.{name}", field.type, kinds)
    elif named.name in kinds:
        yield path


def changed(variables: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return variables with one of them replaced, however deep it lies."""
    copied = copy.deepcopy(variables)
    place = copied
    *parents, last = path.split(".")
    for name in parents:
        inner = place.setdefault(name, {})
        place = inner[0] if isinstance(inner, list) else inner
    place[last] = [value] if last == "scopes" or isinstance(place.get(last), list) else value
    return copied


def test_the_walk_sees_nested_inputs() -> None:
    assert set(texts("deductCredits", "String", "ID")) >= {
        "input.idempotencyKey",
        "input.related.id",
        "input.usage.traceId",
    }
    assert set(texts("creditTransactions", "String", "ID")) == {
        "organizationId",
        "after",
        "filter.feature",
        "filter.reservationId",
        "filter.endCustomerRef",
    }


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_no_text_takes_a_nul_or_ten_thousand_characters(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    for path in texts(operation, "String", "ID"):
        for bad in ("\x00", "a\x00b", LONG):
            if bad == LONG and path in FOR_MODELS:
                continue
            answered = await api.run(operation, changed(variables, path, bad))
            assert (answered.status, answered.code) == (200, "VALIDATION_ERROR"), (path, bad[:3])
    assert await everything(admin) == before


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_an_id_that_is_none_is_refused(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    for path in texts(operation, "ID"):
        for bad in NO_IDS:
            if path in FOREIGN_IDS and bad != LONG:
                continue
            sent = changed(variables, path, bad)
            if path == "input.transactionId":
                del sent["input"]["reservationId"]
            answered = await api.run(operation, sent)
            assert (answered.status, answered.code) == (200, "VALIDATION_ERROR"), (path, bad)
    assert await everything(admin) == before


@pytest.mark.parametrize("bad", [True, 1.5, [], {}])
async def test_an_id_is_a_text_or_a_whole_number(bad: Any, api: Api) -> None:
    assert (await api.run("organization", {"id": bad})).code == "GRAPHQL_INVALID"


async def test_a_nul_in_the_document_itself_is_refused(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    before = await everything(admin)
    document = (
        "mutation { reserveCredits(input: {"
        f'organizationId: "{tenants.organization}", amount: 1, idempotencyKey: "a\\u0000"'
        "}) { ... on InvalidInput { field } } }"
    )
    assert (await api.send(document)).result == {"field": "idempotencyKey"}
    assert await everything(admin) == before


@pytest.mark.parametrize("version", ["1" * 19, "0" * 20 + "9" * 30, "9" * 5_000, "-1", "", "٣"])
async def test_a_transaction_id_that_is_none_is_refused(
    version: str, api: Api, tenants: Tenants
) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "transactionId": f"{tenants.organization}:{version}",
        "idempotencyKey": unique(),
    }
    result = (await api.run("refundCredits", {"input": request})).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", "transactionId")


async def test_a_transaction_id_of_another_organization_is_refused(
    api: Api, tenants: Tenants
) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "transactionId": f"{tenants.sibling}:2",
        "idempotencyKey": unique(),
    }
    result = (await api.run("refundCredits", {"input": request})).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", "transactionId")


@pytest.mark.parametrize("both", [True, False])
async def test_a_refund_names_its_call_in_one_way(
    both: bool,  # noqa: FBT001
    api: Api,
    tenants: Tenants,
    requests: Requests,
) -> None:
    request = (await requests.variables("refundCredits"))["input"]
    if both:
        request["transactionId"] = f"{tenants.organization}:4"
    else:
        del request["reservationId"]
    result = (await api.run("refundCredits", {"input": request})).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", "reservationId")


@pytest.mark.parametrize("length", [1, 255])
@pytest.mark.parametrize("letter", ["k", "ü", "𝄞", " "])
async def test_keys_have_one_to_255_characters_of_any_script(
    letter: str, length: int, api: Api, requests: Requests
) -> None:
    variables = await requests.variables("reserveCredits")
    variables["input"]["idempotencyKey"] = letter * length
    assert (await api.run("reserveCredits", variables)).result["replayed"] is False
    assert (await api.run("reserveCredits", variables)).result["replayed"] is True


@pytest.mark.parametrize(
    "operation",
    [name for name in OPERATIONS if "input.idempotencyKey" in set(texts(name, "String"))],
)
async def test_keys_of_no_or_256_characters_are_refused(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    before = await everything(admin)
    for key in ("", "k" * 256, "𝄞" * 256, LONG):
        sent = changed(variables, "input.idempotencyKey", key)
        result = (await api.run(operation, sent)).result
        result.pop("message")
        assert result == {
            "__typename": "InvalidInput",
            "code": "VALIDATION_ERROR",
            "field": "idempotencyKey",
            "reason": "must have 1 to 255 characters",
        }
    assert await everything(admin) == before


async def test_usage_is_never_negative_or_beyond_64_bits(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("settleCredits")
    before = await everything(admin)
    for field, value in (
        ("inputTokens", -1),
        ("outputTokens", -1),
        ("latencyMs", -1),
        ("costNanodollars", "-1"),
        ("costNanodollars", "1.5"),
        ("costNanodollars", str(2**63)),
        ("costNanodollars", "0" * 20 + "9" * 30),
        ("costNanodollars", "9" * 5_000),
        ("costNanodollars", "٣"),
    ):
        sent = changed(variables, f"input.usage.{field}", value)
        result = (await api.run("settleCredits", sent)).result
        assert (result["__typename"], result["field"]) == ("InvalidInput", f"usage.{field}")
    assert await everything(admin) == before


@pytest.mark.parametrize("code", [-1, 0, 99_999, 2**31 - 1, -(2**31)])
async def test_any_status_code_of_a_provider_is_kept(
    code: int, api: Api, requests: Requests
) -> None:
    variables = await requests.variables("settleCredits")
    variables["input"]["usage"] = {"statusCode": code}
    assert (await api.run("settleCredits", variables)).code == "OK"


@pytest.mark.parametrize("number", ["9" * 5_000, "-" + "9" * 5_000, str(2**31), str(2**64)])
async def test_a_whole_number_beyond_32_bits_is_refused(
    number: str, api: Api, database: Database, tenants: Tenants
) -> None:
    document = (
        f'mutation {{ reserveCredits(input: {{organizationId: "{tenants.organization}", amount: 1,'
        f' idempotencyKey: "k", ttlSeconds: {number}}}) {{ __typename }} }}'
    )
    answered = await api.send(document)
    assert answered.code == "GRAPHQL_INVALID"
    assert "data" not in answered.body
    assert "digits" not in answered.body["errors"][0]["message"]
    reserved = await database.value(
        "select count(*) from credits.reservations where account_id = $1", tenants.organization
    )
    assert reserved == 0


async def test_a_reservation_lasts_a_second_to_a_day(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("reserveCredits")
    before = await everything(admin)
    for ttl in (0, -1, 86_401, 2**31 - 1):
        sent = changed(variables, "input.ttlSeconds", ttl)
        result = (await api.run("reserveCredits", sent)).result
        assert (result["__typename"], result["field"]) == ("InvalidInput", "ttlSeconds")
    assert await everything(admin) == before
