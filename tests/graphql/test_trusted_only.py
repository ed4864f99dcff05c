"""Servers that run the documents of the contract only, and keys that may send any."""

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from db.driver import Connection
from schema import documents
from tests.conftest import Servers
from tests.graphql.requests import everything
from tests.support.api import Api, document, serving, settings_for, unique
from tests.support.callers import Caller, Tenants
from tests.support.ways import MUTATING, STREAMING, Told, Way, ask, line

# Nobody who lacks the scope `documents:any`; the administrator alone needs none.
WITHOUT = [
    caller
    for caller in Caller
    if caller not in (Caller.ADMIN, Caller.UNKNOWN, Caller.MISTYPED, Caller.REVOKED, Caller.EXPIRED)
]
BY_DIGEST = {"documentId": sha256(document("organizations").encode()).hexdigest()}
BALANCE = "query Mine($id: ID!) { creditBalance(organizationId: $id) { available } }"
WATCH = "subscription Mine($id: ID!) { creditBalanceUpdated(organizationId: $id) { available } }"
DEDUCT = """
mutation Mine($input: DeductCreditsInput!) {
  deductCredits(input: $input) { __typename ... on Refusal { code message } }
}
"""


@pytest.fixture(scope="module")
async def guarded_site(servers: Servers, database_name: str) -> AsyncIterator[Api]:
    settings = settings_for(
        servers.app_url(database_name),
        servers.redis,
        environment="production",
        trusted_documents_only=True,
    )
    async with serving(settings) as served:
        yield served


@pytest.fixture
async def guarded(guarded_site: Api, tenants: Tenants) -> Api:
    return replace(guarded_site, keys=tenants.keys)


async def key_with(api: Api, tenants: Tenants, *scopes: str) -> str:
    """Make a key over the API."""
    request = {
        "projectId": str(tenants.project),
        "name": "console",
        "scopes": list(scopes),
        "idempotencyKey": unique(),
    }
    made = (await api.run("createProjectKey", {"input": request})).result
    assert made["__typename"] == "CreateKeySuccess"
    assert made["key"]["scopes"] == sorted(scopes)
    return str(made["secret"])


def deduction(tenants: Tenants) -> dict[str, Any]:
    request = {"organizationId": str(tenants.organization), "amount": "1"}
    return {"input": request | {"idempotencyKey": unique()}}


def check_refused(told: Told, way: Way) -> None:
    assert told.code == "DOCUMENT_NOT_TRUSTED"
    assert told.error["message"] == (
        "This server runs only the documents of its contract."
        " Send the `documentId` of one, or use a key with the scope documents:any."
    )
    assert told.error["extensions"].keys() == {"code", "requestId"}
    expected = {Way.POST: 403, Way.GET: 403, Way.SOCKET: None}
    assert told.status == expected.get(way, 200)


@pytest.mark.parametrize("caller", WITHOUT)
async def test_other_documents_are_refused_over_every_way_and_do_nothing(
    caller: Caller, guarded: Api, tenants: Tenants, admin: Connection
) -> None:
    before = await everything(admin)
    organization = {"id": str(tenants.organization)}
    for way in Way:
        told = await ask(guarded, way, {"query": BALANCE, "variables": organization}, caller)
        check_refused(told, way)
    for way in MUTATING:
        body = {"query": DEDUCT, "variables": deduction(tenants)}
        check_refused(await ask(guarded, way, body, caller), way)
    for way in STREAMING:
        told = await ask(guarded, way, {"query": WATCH, "variables": organization}, caller)
        check_refused(told, way)
    assert await everything(admin) == before


@pytest.mark.parametrize(
    "text",
    [
        "{ __typename }",
        "{ __schema { types { name } } }",
        "{ nothing }",
        "{",
        "\x00",
        "fragment Alone on Query { __typename }",
        document("organizations") + "\n",
        document("organizations").replace("\n", "\r\n"),
        document("organizations") + document("projects"),
        document("organizations").replace("first: $first", "first: 100"),
    ],
    ids=[
        "smallest",
        "introspection",
        "invalid",
        "syntax",
        "NUL",
        "fragment",
        "line more",
        "line ends",
        "two",
        "changed",
    ],
)
async def test_a_document_is_trusted_to_the_letter_or_not_even_parsed(
    text: str, guarded: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(documents, "parse", refuse)
    for way in Way:
        for more in ({}, {"documentId": sha256(text.encode()).hexdigest()}):
            told = await ask(guarded, way, {"query": text, **more}, Caller.PROJECT_KEYS)
            check_refused(told, way)


@pytest.mark.parametrize("way", Way)
async def test_documents_of_the_contract_run_for_everybody_who_may(way: Way, guarded: Api) -> None:
    for body in (BY_DIGEST, {"query": document("organizations")}):
        for caller in (Caller.PROJECT, Caller.ORGANIZATION):
            told = await ask(guarded, way, body, caller)
            assert told.data["organizations"]["nodes"] != []
        told = await ask(guarded, way, body, Caller.ANONYMOUS)
        [error] = told.payload["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_bad_key_is_told_so_before_any_document_is_looked_at(guarded: Api) -> None:
    for caller in (Caller.UNKNOWN, Caller.MISTYPED, Caller.REVOKED, Caller.EXPIRED):
        told = await ask(guarded, Way.POST, {"query": "{ __typename }"}, caller)
        assert (told.status, told.code) == (401, "UNAUTHENTICATED")


async def test_a_key_that_was_made_with_the_scope_sends_any_document(
    guarded: Api, tenants: Tenants, admin: Connection
) -> None:
    secret = await key_with(guarded, tenants, "documents:any")
    organization = {"id": str(tenants.organization)}
    for caller in (secret, Caller.ADMIN):
        for way in Way:
            told = await ask(guarded, way, {"query": BALANCE, "variables": organization}, caller)
            assert told.data["creditBalance"] is not None
        for way in MUTATING:
            body = {"query": DEDUCT, "variables": deduction(tenants)}
            told = await ask(guarded, way, body, caller)
            assert told.data["deductCredits"] == {"__typename": "DeductCreditsSuccess"}
        for way in STREAMING:
            told = await ask(guarded, way, {"query": WATCH, "variables": organization}, caller)
            assert told.data["creditBalanceUpdated"] is not None
    # It says how to ask, not what for.
    grant = (
        "mutation($input: GrantCreditsInput!) { grantCredits(input: $input) { __typename"
        " ... on Refusal { code } ... on ScopeRequired { scope } } }"
    )
    before = await everything(admin)
    told = await ask(guarded, Way.POST, {"query": grant, "variables": deduction(tenants)}, secret)
    assert told.data["grantCredits"] == {
        "__typename": "ScopeRequired",
        "code": "SCOPE_REQUIRED",
        "scope": "credits:grant",
    }
    assert await everything(admin) == before


async def test_a_scope_that_does_not_exist_makes_no_key(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    before = await everything(admin)
    request = {
        "projectId": str(tenants.project),
        "name": "console",
        "scopes": ["documents:any", "documents:all"],
        "idempotencyKey": unique(),
    }
    refused = (await api.run("createProjectKey", {"input": request})).result
    assert (refused["__typename"], refused["field"]) == ("InvalidInput", "scopes")
    assert "'documents:all'" in refused["reason"]
    assert "'documents:any'" in refused["reason"]
    assert await everything(admin) == before


async def test_a_socket_that_loses_the_scope_loses_the_right_with_its_next_operation(
    guarded: Api, tenants: Tenants, admin: Connection
) -> None:
    secret = await key_with(guarded, tenants, "documents:any", "credits:grant")
    free = {"query": BALANCE, "variables": {"id": str(tenants.organization)}}
    async with line(guarded, secret) as socket:
        assert (await socket.ask(free)).data["creditBalance"] == {"available": "100"}
        changed = await admin.execute(
            "update identity.api_keys set scopes = array_remove(scopes, 'documents:any')"
            " where 'documents:any' = any(scopes) and project_id = $1",
            tenants.project,
        )
        assert changed == "UPDATE 1"
        before = await everything(admin)
        check_refused(await socket.ask(free), Way.SOCKET)
        body = {"query": DEDUCT, "variables": deduction(tenants)}
        check_refused(await socket.ask(body), Way.SOCKET)
        assert await everything(admin) == before
        # The socket itself goes on.
        assert (await socket.ask(BY_DIGEST)).data["organizations"]["nodes"] != []


@pytest.mark.parametrize(
    "changed",
    [
        {"environment": "development", "trusted_documents_only": True},
        {"environment": "production", "trusted_documents_only": False},
        {"environment": "production"},
    ],
    ids=["development", "switched off", "by default"],
)
async def test_elsewhere_everybody_sends_any_document(
    changed: dict[str, Any], servers: Servers, database_name: str, tenants: Tenants
) -> None:
    settings = settings_for(servers.app_url(database_name), servers.redis, **changed)
    async with serving(settings) as served:
        api = replace(served, keys=tenants.keys)
        for way in Way:
            told = await ask(api, way, {"query": "{ __typename }"}, Caller.ORGANIZATION)
            assert told.data == {"__typename": "Query"}
