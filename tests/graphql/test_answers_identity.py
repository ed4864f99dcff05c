"""What each document about projects, organizations and keys answers, to the last field."""

from datetime import timedelta

import pytest

from db.driver import Connection
from tests.graphql.expected import NOW, START, ZERO, balance, transact, untouched, whole
from tests.support.accounts import Accounts
from tests.support.api import Api, unique
from tests.support.callers import Caller, Tenants, make_tenants
from tests.support.clock import Clock


@pytest.fixture
async def tenants(clock: Clock, admin: Connection, accounts: Accounts) -> Tenants:
    """Tenants at an hour that stands still: versions 1 and 2 opened their accounts."""
    await clock.set(NOW)
    return await make_tenants(admin, accounts)


async def test_update_organization_settings(api: Api, tenants: Tenants) -> None:
    result = await transact(
        api,
        "updateOrganizationSettings",
        organizationId=str(tenants.organization),
        idempotencyKey=unique(),
        overdraftLimit="20",
        allowance="50",
        lowBalancePercent=25,
    )
    assert result == {
        "balance": whole(
            tenants,
            result["balance"]["version"],
            granted="150",
            available="150",
            spendable="170",
            overdraftLimit="20",
            total="150",
            remaining="150",
            monthly="50",
            bonus="100",
            allowance="50",
        ),
        "allowanceTakesEffectAt": START,
        "replayed": False,
    }


async def test_create_project(api: Api) -> None:
    slug = unique("p")
    result = await transact(
        api, "createProject", slug=slug, name="Projekt Ü", idempotencyKey=unique()
    )
    assert result == {
        "project": {
            "id": result["project"]["id"],
            "slug": slug,
            "name": "Projekt Ü",
            "createdAt": START,
        },
        "replayed": False,
    }


async def test_create_organization(api: Api, tenants: Tenants) -> None:
    reference = unique("ref")
    result = await transact(
        api,
        "createOrganization",
        projectId=str(tenants.project),
        name="Organization",
        kind="PERSONAL",
        externalRef=reference,
        idempotencyKey=unique(),
    )
    made = result["organization"]
    assert result == {
        "organization": {
            "id": made["id"],
            "projectId": str(tenants.project),
            "name": "Organization",
            "kind": "PERSONAL",
            "externalRef": reference,
            "createdAt": START,
            "creditBalance": ZERO | {"organizationId": made["id"], "version": 1},
        },
        "replayed": False,
    }


async def test_create_project_key(api: Api, tenants: Tenants) -> None:
    result = await transact(
        api,
        "createProjectKey",
        projectId=str(tenants.project),
        name="Back-end",
        scopes=["keys:write", "credits:grant", "keys:write"],
        expiresAt="2027-01-01T00:00:00Z",
        idempotencyKey=unique(),
    )
    assert result == {
        "key": {
            "id": result["key"]["id"],
            "kind": "PROJECT",
            "projectId": str(tenants.project),
            "organizationId": None,
            "name": "Back-end",
            "prefix": result["secret"][:12],
            "last4": result["secret"][-4:],
            "scopes": ["credits:grant", "keys:write"],
            "createdAt": START,
            "expiresAt": "2027-01-01T00:00:00Z",
            "revokedAt": None,
        },
        "secret": result["secret"],
        "replayed": False,
    }
    page = (await api.run("projects", caller=result["secret"])).result
    assert [node["id"] for node in page["nodes"]] == [str(tenants.project)]


async def test_create_organization_key(api: Api, tenants: Tenants) -> None:
    result = await transact(
        api,
        "createOrganizationKey",
        organizationId=str(tenants.organization),
        name="Portal",
        idempotencyKey=unique(),
    )
    assert result == {
        "key": {
            "id": result["key"]["id"],
            "kind": "ORGANIZATION",
            "projectId": str(tenants.project),
            "organizationId": str(tenants.organization),
            "name": "Portal",
            "prefix": result["secret"][:12],
            "last4": result["secret"][-4:],
            "scopes": [],
            "createdAt": START,
            "expiresAt": None,
            "revokedAt": None,
        },
        "secret": result["secret"],
        "replayed": False,
    }
    page = (await api.run("organizations", caller=result["secret"])).result
    assert [node["id"] for node in page["nodes"]] == [str(tenants.organization)]


async def test_revoke_key(api: Api, tenants: Tenants, clock: Clock) -> None:
    made = await transact(
        api,
        "createOrganizationKey",
        organizationId=str(tenants.organization),
        name="Portal",
        idempotencyKey=unique(),
    )
    assert (await api.run("organizations", caller=made["secret"])).code == "OK"
    await clock.advance(timedelta(minutes=1))
    revoked = made["key"] | {"revokedAt": "2026-03-10T10:01:00Z"}
    result = await transact(api, "revokeKey", keyId=made["key"]["id"])
    assert result == {"key": revoked, "replayed": False}
    refused = await api.run("organizations", caller=made["secret"])
    assert (refused.code, refused.status) == ("UNAUTHENTICATED", 401)
    await clock.advance(timedelta(minutes=1))
    again = await transact(api, "revokeKey", keyId=made["key"]["id"])
    assert again == {"key": revoked, "replayed": True}


async def test_a_project_key_revokes_no_project_key(api: Api, tenants: Tenants) -> None:
    made = await transact(
        api,
        "createProjectKey",
        projectId=str(tenants.project),
        name="Back-end",
        idempotencyKey=unique(),
    )
    asked = {"input": {"keyId": made["key"]["id"]}}
    refused = await api.run("revokeKey", asked, Caller.PROJECT_KEYS)
    assert refused.code == "NOT_FOUND"
    assert (await api.run("projects", caller=made["secret"])).code == "OK"
    assert (await api.run("revokeKey", asked, Caller.ADMIN)).code == "OK"
    assert (await api.run("projects", caller=made["secret"])).code == "UNAUTHENTICATED"


async def test_organization(api: Api, tenants: Tenants) -> None:
    answered = await api.run("organization", {"id": str(tenants.organization)}, Caller.ORGANIZATION)
    assert answered.result == {
        "id": str(tenants.organization),
        "projectId": str(tenants.project),
        "name": "Organization",
        "kind": "TEAM",
        "externalRef": None,
        "createdAt": START,
        "creditBalance": balance(tenants, 2, **untouched()),
    }


async def test_projects_and_organizations(api: Api, tenants: Tenants, admin: Connection) -> None:
    slug = await admin.fetchval("select slug from identity.projects where id = $1", tenants.project)
    page = (await api.run("projects", {"count": True}, Caller.PROJECT)).result
    assert page["nodes"] == [
        {
            "id": str(tenants.project),
            "slug": slug,
            "name": "Project",
            "createdAt": START,
            "allowedOrigins": [],
        }
    ]
    assert page["totalCount"] == 1
    page = (await api.run("organizations", {"count": True}, Caller.ORGANIZATION)).result
    assert page["nodes"] == [
        {
            "id": str(tenants.organization),
            "projectId": str(tenants.project),
            "name": "Organization",
            "kind": "TEAM",
            "externalRef": None,
            "createdAt": START,
        }
    ]
    assert page["totalCount"] == 1


async def test_update_project_settings(api: Api, tenants: Tenants, admin: Connection) -> None:
    slug = await admin.fetchval("select slug from identity.projects where id = $1", tenants.project)
    project = {"id": str(tenants.project), "slug": slug, "name": "Project", "createdAt": START}
    # As browsers send them, each once, in order.
    asked = ["https://App.example:443", "http://localhost:05173", "https://app.example"]
    kept = ["http://localhost:5173", "https://app.example"]
    for replayed in (False, True):
        result = await transact(
            api, "updateProjectSettings", projectId=str(tenants.project), allowedOrigins=asked
        )
        assert result == {"project": project | {"allowedOrigins": kept}, "replayed": replayed}
    page = (await api.run("projects", {}, Caller.PROJECT)).result
    assert page["nodes"] == [project | {"allowedOrigins": kept}]
    elsewhere = (await api.run("projects", {}, Caller.ELSEWHERE)).result
    assert [node["allowedOrigins"] for node in elsewhere["nodes"]] == [[]]
