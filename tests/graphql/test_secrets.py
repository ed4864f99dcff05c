"""Secrets of keys: answered again to the same request, and kept nowhere in the clear."""

import hashlib
from typing import Any
from uuid import UUID

import pytest

from db.driver import Connection
from tests.conftest import Servers
from tests.graphql.requests import Requests, everything
from tests.support.api import Api, serving, settings_for, unique
from tests.support.callers import Caller, Tenants

KEYS = ["createProjectKey", "createOrganizationKey"]


async def make(api: Api, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = (await api.run(operation, variables)).result
    assert result["__typename"] == "CreateKeySuccess"
    return result


@pytest.mark.parametrize("operation", KEYS)
async def test_the_same_request_answers_the_same_secret_again(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables(operation)
    first = await make(api, operation, variables)
    again = await make(api, operation, variables)
    assert again["secret"] == first["secret"]
    found = await admin.fetchval(
        "select count(*) from identity.api_keys where secret_hash = $1",
        hashlib.sha256(first["secret"].encode()).digest(),
    )
    assert found == 1
    page = (await api.run("organizations", caller=first["secret"])).result
    assert page["nodes"] != []


@pytest.mark.parametrize("operation", KEYS)
async def test_no_table_holds_a_secret(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    secret = (await make(api, operation, await requests.variables(operation)))["secret"]
    # The part that nobody can guess; the prefix and the last four may be shown.
    chance = secret[12:-4]
    stored = await everything(admin)
    assert any(stored.values())
    for table, rows in stored.items():
        for row in rows:
            for column, value in row.items():
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                assert chance not in text, (table, column)
                assert chance.encode().hex() not in text, (table, column)


async def test_an_answer_that_carries_a_secret_is_encrypted(
    api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("createProjectKey")
    await make(api, "createProjectKey", variables)
    stored = await admin.fetchval(
        "select response from core.idempotency_keys where key = $1",
        variables["input"]["idempotencyKey"],
    )
    # A Fernet token: its version, a time, an initialization vector, the cipher text.
    assert stored.startswith(b"gAAAAA")
    assert variables["input"]["name"].encode() not in stored


async def test_another_secret_key_cannot_read_the_answer_and_makes_no_second_key(
    servers: Servers, database_name: str, api: Api, requests: Requests, admin: Connection
) -> None:
    variables = await requests.variables("createProjectKey")
    await make(api, "createProjectKey", variables)
    before = await everything(admin)
    settings = settings_for(
        servers.app_url(database_name), servers.redis, secret_key="another " + "x" * 32
    )
    async with serving(settings) as changed:
        answered = await changed.run("createProjectKey", variables)
    assert answered.code == "DUPLICATE_REQUEST"
    assert await everything(admin) == before


async def test_a_secret_is_not_answered_to_another_caller(api: Api, tenants: Tenants) -> None:
    request = {
        "organizationId": str(tenants.organization),
        "name": "Portal",
        "idempotencyKey": unique(),
    }
    first = (await api.run("createOrganizationKey", {"input": request})).result
    other = (await api.run("createOrganizationKey", {"input": request}, Caller.PROJECT_KEYS)).result
    assert other["replayed"] is False
    assert other["secret"] != first["secret"]


async def test_a_key_past_its_time_cannot_be_made(api: Api, tenants: Tenants) -> None:
    request = {
        "projectId": str(tenants.project),
        "name": "Old",
        "idempotencyKey": unique(),
        "expiresAt": "2001-01-01T00:00:00Z",
    }
    result = (await api.run("createProjectKey", {"input": request})).result
    assert (result["code"], result["field"]) == ("VALIDATION_ERROR", "expiresAt")


async def test_a_scope_that_does_not_exist_is_refused(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    before = await everything(admin)
    request = {
        "projectId": str(tenants.project),
        "name": "Back-end",
        "idempotencyKey": unique(),
        "scopes": ["credits:grant", "credits:mint"],
    }
    result = (await api.run("createProjectKey", {"input": request})).result
    assert (result["code"], result["field"]) == ("VALIDATION_ERROR", "scopes")
    assert await everything(admin) == before


async def test_a_project_has_at_most_a_hundred_live_keys(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    await admin.execute(
        """
        insert into identity.api_keys
            (id, kind, project_id, name, secret_hash, prefix, last4, created_at)
        select core.uuidv7(), 'project', $1, 'filler', sha256(n::text::bytea), '', '', core.clock()
        from generate_series(1, 100) as n
        """,
        tenants.elsewhere,
    )
    before = await everything(admin)
    request = {"projectId": str(tenants.elsewhere), "name": "One more", "idempotencyKey": unique()}
    result = (await api.run("createProjectKey", {"input": request})).result
    assert (result["code"], result["field"]) == ("CONFLICT", "keys")
    assert await everything(admin) == before


async def test_a_key_for_a_project_that_does_not_exist_is_refused(
    api: Api, admin: Connection
) -> None:
    before = await everything(admin)
    request = {"projectId": str(UUID(int=1)), "name": "Nobody's", "idempotencyKey": unique()}
    assert (await api.run("createProjectKey", {"input": request})).code == "NOT_FOUND"
    assert await everything(admin) == before
