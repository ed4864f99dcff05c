"""Amounts, instants, versions and ids: what is read, what is refused, how it is shown."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.units import show_credits
from schema.scalars import read_credits
from tests.support.api import Api, unique
from tests.support.callers import Tenants

CHECK = "query ($id: ID!) { creditBalanceCheck(organizationId: $id, amount: %s) { required } }"
CHECK_BY_VARIABLE = (
    "query ($id: ID!, $amount: Credits!)"
    " { creditBalanceCheck(organizationId: $id, amount: $amount) { required } }"
)
LARGEST = 10**18

READ = {
    "0": "0",
    "-0": "0",
    "-0.000000": "0",
    "12.5": "12.5",
    "0012.500000": "12.5",
    "0.000001": "0.000001",
    "1000000000000": "1000000000000",
    "1000000000000.000000": "1000000000000",
    "999999999999.999999": "999999999999.999999",
}
UNREADABLE = [
    "",
    " ",
    " 5",
    "5 ",
    "5\n",
    "\n5",
    "+5",
    "--5",
    "5.",
    ".5",
    "1.0000001",
    "1,5",
    "1_000",
    "1e3",
    "1E3",
    "0x10",
    "0b1",
    "NaN",
    "nan",
    "Infinity",
    "-Infinity",
    "inf",
    "½",
    "٣",
    "1\u0660",
    "\uff11\uff12",
    "5\u200b",
    "\u22125",
    "5\x00",
    "null",
    "true",
    "1000000000000.000001",
    "1000000000001",
    "10000000000000",
    str(10**30),
    "9" * 10_000,
]


async def check(api: Api, tenants: Tenants, amount: Any) -> Any:
    variables = {"id": str(tenants.organization), "amount": amount}
    return await api.send(CHECK_BY_VARIABLE, variables)


@pytest.mark.parametrize(("text", "shown"), READ.items())
async def test_decimal_strings_are_read_and_shown_without_trailing_zeros(
    text: str, shown: str, api: Api, tenants: Tenants
) -> None:
    assert (await check(api, tenants, text)).result == {"required": shown}
    literal = CHECK % json.dumps(text)
    answered = await api.send(literal, {"id": str(tenants.organization)})
    assert answered.result == {"required": shown}


@pytest.mark.parametrize("number", [0, 7, 10**12])
async def test_whole_numbers_are_read(number: int, api: Api, tenants: Tenants) -> None:
    assert (await check(api, tenants, number)).result == {"required": str(number)}
    answered = await api.send(CHECK % number, {"id": str(tenants.organization)})
    assert answered.result == {"required": str(number)}


async def test_texts_that_are_no_amount_are_refused(api: Api, tenants: Tenants) -> None:
    for text in UNREADABLE:
        for answered in (
            await check(api, tenants, text),
            await api.send(CHECK % json.dumps(text), {"id": str(tenants.organization)}),
        ):
            [error] = answered.body["errors"]
            assert (error["extensions"]["code"], error["extensions"]["field"]) == (
                "VALIDATION_ERROR",
                "Credits",
            ), text
            assert "data" not in answered.body


@pytest.mark.parametrize(
    "value", [1.5, 0.1, 1e3, -0.0, True, False, [], ["1"], {}, {"amount": "1"}, 10**13, 10**30]
)
async def test_values_that_are_no_decimal_string_or_whole_number_are_refused(
    value: Any, api: Api, tenants: Tenants
) -> None:
    answered = await check(api, tenants, value)
    assert answered.code == "VALIDATION_ERROR"
    assert "data" not in answered.body


@pytest.mark.parametrize(
    "literal",
    ["1.5", "1e3", "true", "FIVE", '["1"]', "[]", '{amount: "1"}', str(10**30), "9" * 5_000],
)
async def test_literals_that_are_no_decimal_string_or_whole_number_are_refused(
    literal: str, api: Api, tenants: Tenants
) -> None:
    answered = await api.send(CHECK % literal, {"id": str(tenants.organization)})
    assert answered.code == "VALIDATION_ERROR"


@pytest.mark.parametrize("form", ["variable", "literal", "absent"])
async def test_an_amount_that_is_required_is_not_null(
    form: str, api: Api, tenants: Tenants
) -> None:
    if form == "variable":
        answered = await check(api, tenants, None)
    elif form == "literal":
        answered = await api.send(CHECK % "null", {"id": str(tenants.organization)})
    else:
        answered = await api.send(CHECK_BY_VARIABLE, {"id": str(tenants.organization)})
    assert answered.code == "GRAPHQL_INVALID"


@pytest.mark.parametrize("amount", ["-1", "-0.000001", -1])
async def test_a_check_of_less_than_nothing_is_refused(
    amount: Any, api: Api, tenants: Tenants
) -> None:
    answered = await check(api, tenants, amount)
    [error] = answered.body["errors"]
    assert error["extensions"]["code"] == "VALIDATION_ERROR"
    assert error["extensions"]["reason"] == "must be at least 0"


@pytest.mark.parametrize(
    ("operation", "amount"),
    [
        ("reserveCredits", "0"),
        ("reserveCredits", "-1"),
        ("reserveCredits", "-0"),
        ("deductCredits", "0"),
        ("deductCredits", "-1"),
        ("grantCredits", "0"),
        ("grantCredits", "-1"),
        ("adjustCredits", "0"),
        ("adjustCredits", "-0"),
    ],
)
async def test_amounts_that_move_nothing_or_backwards_are_refused(
    operation: str, amount: str, api: Api, tenants: Tenants
) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "amount": amount,
        "idempotencyKey": unique(),
    }
    if operation == "adjustCredits":
        request["reason"] = "a test"
    result = (await api.run(operation, {"input": request})).result
    assert (result["__typename"], result["field"]) == ("InvalidInput", "amount")


@given(st.integers(-LARGEST, LARGEST))
@settings(max_examples=200, derandomize=True, database=None)
def test_amounts_are_shown_and_read_back_exactly(microcredits: int) -> None:
    shown = show_credits(microcredits)
    assert read_credits(shown) == microcredits
    assert "e" not in shown.lower()
    assert "." not in shown or shown[-1] not in "0."


INSTANTS = {
    "2027-01-01T00:00:00Z": "2027-01-01T00:00:00Z",
    "2027-01-01T00:00:00+00:00": "2027-01-01T00:00:00Z",
    "2027-01-01T00:00:00.123456Z": "2027-01-01T00:00:00.123456Z",
    "2027-01-01T01:30:00+01:30": "2027-01-01T00:00:00Z",
    "2026-12-31T19:00:00-05:00": "2027-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z": "9999-12-31T23:59:59Z",
}
NO_INSTANTS: list[Any] = [
    "2027-01-01T00:00:00",
    "2027-01-01",
    "2027-01-01T25:00:00Z",
    "2027-02-30T00:00:00Z",
    "2027-01-01T00:00:00+25:00",
    "10000-01-01T00:00:00Z",
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00",
    "now",
    "infinity",
    "",
    "\x00",
    "\uff12\uff10\uff12\uff17-01-01T00:00:00Z",
    "9" * 10_000,
    1_800_000_000,
    1.5,
    True,
    [],
    {},
]


@pytest.mark.parametrize(("given", "shown"), INSTANTS.items())
async def test_instants_are_read_with_their_offset_and_shown_in_utc(
    given: str, shown: str, api: Api, tenants: Tenants
) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "amount": "1",
        "idempotencyKey": unique(),
        "expiresAt": given,
    }
    result = (await api.run("grantCredits", {"input": request})).result
    assert result["grant"]["expiresAt"] == shown


async def test_what_is_no_instant_is_refused(api: Api, tenants: Tenants) -> None:
    request: dict[str, Any] = {
        "organizationId": str(tenants.organization),
        "amount": "1",
        "idempotencyKey": unique(),
    }
    for value in NO_INSTANTS:
        request["expiresAt"] = value
        answered = await api.run("grantCredits", {"input": request})
        assert answered.code == "VALIDATION_ERROR", value
        assert "data" not in answered.body, value


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_instants_at_the_ends_of_time_can_be_asked_about(
    instant: str, api: Api, tenants: Tenants
) -> None:
    variables = {
        "organizationId": str(tenants.organization),
        "filter": {"since": instant},
        "count": True,
    }
    expected = 1 if instant.startswith("0001") else 0
    assert (await api.run("creditTransactions", variables)).result["totalCount"] == expected


async def test_a_version_is_a_number_in_answers(api: Api, tenants: Tenants) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "transactionId": f"{tenants.organization}:{10**18 - 1}",
        "idempotencyKey": unique(),
    }
    query = (
        "mutation ($input: RefundCreditsInput!)"
        " { refundCredits(input: $input) { ... on TransactionNotFound { code version } } }"
    )
    assert (await api.send(query, {"input": request})).result == {
        "code": "TRANSACTION_NOT_FOUND",
        "version": 10**18 - 1,
    }
