"""updateProjectSettings: what it refuses, with its facts, and that nothing moved."""

from uuid import UUID

import pytest

from db.driver import Connection
from tests.functions.test_set_allowed_origins import FIFTY, NO_ORIGIN, TOO_MANY
from tests.graphql.requests import everything
from tests.support.api import Api, document
from tests.support.callers import Caller, Tenants

UNKNOWN = UUID("00000000-0000-4000-8000-000000000000")
# The contract's, with the facts that its front ends know by themselves.
DOCUMENT = document("updateProjectSettings").replace(
    "... on Refusal", "... on NotFound { kind id } ... on Refusal"
)
# What no origin becomes, however it is written.
NO_ORIGINS = (
    "",
    "*",
    "null",
    "app.example",
    "https://app.example/",
    "https://app.example/path",
    "https://app.example?q",
    "https://*.example",
    "https://you@app.example",
    "https://app..example",
    "https://app.example:",
    "https://app.example:0",
    "https://app.example:65536",
    "https://app.example:123456",
    "https://b\u00fccher.example",
    "https://a.example\n",
    " https://a.example",
    "https://a.example\x00",
    "ftp://app.example",
    "https://[1:2]",
    "https://[::1",
    f"https://{'a' * 60}.{'b' * 186}:1",
)


async def refused(
    api: Api, admin: Connection, project: UUID, origins: list[str], caller: Caller
) -> dict[str, str]:
    """Return the facts of a refusal, proven to have changed no row."""
    before = await everything(admin)
    asked = {"input": {"projectId": str(project), "allowedOrigins": origins}}
    answered = await api.send(DOCUMENT, asked, caller)
    assert await everything(admin) == before
    facts = dict(answered.result)
    assert facts.pop("message")
    return facts


@pytest.mark.parametrize("caller", [Caller.PROJECT_KEYS, Caller.ADMIN])
@pytest.mark.parametrize("origin", NO_ORIGINS, ids=range(len(NO_ORIGINS)))
async def test_what_is_no_origin_is_refused(
    origin: str, caller: Caller, api: Api, tenants: Tenants, admin: Connection
) -> None:
    asked = ["https://good.example", origin]
    assert await refused(api, admin, tenants.project, asked, caller) == {
        "__typename": "InvalidInput",
        "code": "VALIDATION_ERROR",
        **NO_ORIGIN,
    }


async def test_more_than_fifty_are_refused_however_few_they_are(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    told = {"__typename": "InvalidInput", "code": "VALIDATION_ERROR", **TOO_MANY}
    for asked in ([*FIFTY, "https://one.more.example"], FIFTY[:1] * 51):
        assert await refused(api, admin, tenants.project, asked, Caller.ADMIN) == told


async def test_a_project_of_somebody_else_looks_like_none(
    api: Api, tenants: Tenants, admin: Connection
) -> None:
    for project, caller in (
        (tenants.elsewhere, Caller.PROJECT_KEYS),
        (tenants.project, Caller.ELSEWHERE),
        (UNKNOWN, Caller.PROJECT_KEYS),
        (UNKNOWN, Caller.ADMIN),
    ):
        assert await refused(api, admin, project, FIFTY, caller) == {
            "__typename": "NotFound",
            "code": "NOT_FOUND",
            "kind": "project",
            "id": str(project),
        }
