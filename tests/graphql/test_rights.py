"""Every operation asked for by every kind of caller."""

import pytest

from db.driver import Connection
from tests.graphql.requests import Requests, everything
from tests.support.api import Api, documents
from tests.support.callers import BAD_KEYS, Caller, Tenants

OK = "OK"
KNOWN = (
    Caller.ORGANIZATION,
    Caller.SIBLING,
    Caller.PROJECT,
    Caller.PROJECT_GRANTS,
    Caller.PROJECT_KEYS,
    Caller.PROJECT_CATALOG,
    Caller.ELSEWHERE,
    Caller.ADMIN,
)
# What those who are known are answered, in the order of KNOWN.
SCOPE = "SCOPE_REQUIRED"
READ = (OK, "NOT_FOUND", OK, OK, OK, OK, "NOT_FOUND", OK)
LIST = (OK,) * 8
LIST_PROJECTS = ("FORBIDDEN", "FORBIDDEN", OK, OK, OK, OK, OK, OK)
SPEND = ("FORBIDDEN", "FORBIDDEN", OK, OK, OK, OK, "NOT_FOUND", OK)
CALL = (SCOPE, SCOPE, OK, OK, OK, OK, "NOT_FOUND", OK)
GIVE = ("FORBIDDEN", "FORBIDDEN", SCOPE, OK, SCOPE, SCOPE, "NOT_FOUND", OK)
ISSUE_KEYS = ("FORBIDDEN", "FORBIDDEN", SCOPE, SCOPE, OK, SCOPE, "NOT_FOUND", OK)
ENROL = ("FORBIDDEN", "FORBIDDEN", OK, OK, OK, OK, "VALIDATION_ERROR", OK)
ADMINISTER = ("FORBIDDEN",) * 7 + (OK,)
# What a project sells is for all of its own keys to see.
BROWSE = (OK, OK, OK, OK, OK, OK, "NOT_FOUND", OK)
EDIT = ("FORBIDDEN", "FORBIDDEN", SCOPE, SCOPE, SCOPE, OK, "NOT_FOUND", OK)

ANSWERS: dict[str, tuple[str, ...]] = {
    "creditBalance": READ,
    "creditBalanceCheck": READ,
    "aiAccess": READ,
    "featureLimits": READ,
    "charge": READ,
    "createChatCompletion": CALL,
    "createCompletion": CALL,
    "suggestQuestions": CALL,
    "assembleTestimonial": CALL,
    "polishTestimonial": CALL,
    "chatCompletionStream": CALL,
    "createCustomerToken": SPEND,
    "creditGrants": READ,
    "creditReservations": READ,
    "creditTransactions": READ,
    "creditBalanceUpdated": READ,
    "creditTransactionAdded": READ,
    "reservationUpdated": READ,
    "organization": READ,
    "organizations": LIST,
    "projects": LIST_PROJECTS,
    "reserveCredits": SPEND,
    "extendReservation": SPEND,
    "settleCredits": SPEND,
    "releaseCredits": SPEND,
    "deductCredits": SPEND,
    "grantCredits": GIVE,
    "adjustCredits": GIVE,
    "refundCredits": GIVE,
    "voidGrant": GIVE,
    "forgiveOverage": GIVE,
    "updateOrganizationSettings": GIVE,
    "setOrganizationPlan": GIVE,
    "createOrganization": ENROL,
    "createOrganizationKey": ISSUE_KEYS,
    "revokeKey": ISSUE_KEYS,
    "updateProjectSettings": ISSUE_KEYS,
    "plans": BROWSE,
    "plan": BROWSE,
    "features": BROWSE,
    "qualityLevels": BROWSE,
    "models": BROWSE,
    "model": BROWSE,
    "catalogChanges": EDIT,
    "upsertFeature": EDIT,
    "upsertQualityLevel": EDIT,
    "upsertModel": EDIT,
    "upsertPlan": EDIT,
    "archivePlan": EDIT,
    "setDefaultPlan": EDIT,
    "createProject": ADMINISTER,
    "createProjectKey": ADMINISTER,
}
SUBSCRIPTIONS = {
    "creditBalanceUpdated",
    "creditTransactionAdded",
    "reservationUpdated",
    "chatCompletionStream",
}


def test_the_table_names_every_operation() -> None:
    assert sorted(ANSWERS) == documents()


@pytest.mark.parametrize("operation", sorted(ANSWERS.keys() - SUBSCRIPTIONS))
async def test_each_caller_gets_what_its_key_allows(
    operation: str, api: Api, requests: Requests, admin: Connection
) -> None:
    expected = dict(zip(KNOWN, ANSWERS[operation], strict=True))
    for caller in Caller:
        variables = await requests.variables(operation)
        before = await everything(admin)
        answered = await api.run(operation, variables, caller)
        code = expected.get(caller, "UNAUTHENTICATED")
        assert (answered.code, answered.status) == (
            code,
            401 if caller in BAD_KEYS else 200,
        ), caller
        if code != OK:
            assert await everything(admin) == before, caller


@pytest.mark.parametrize("operation", sorted(SUBSCRIPTIONS))
async def test_each_caller_watches_what_its_key_allows(
    operation: str, api: Api, requests: Requests
) -> None:
    expected = dict(zip(KNOWN, ANSWERS[operation], strict=True))
    await requests.reserve()

    async def add_a_row() -> None:
        await api.run("grantCredits", await requests.variables("grantCredits"))

    # The ledger is quiet until a row is added.
    stir = add_a_row if operation == "creditTransactionAdded" else None
    for caller in Caller:
        code = expected.get(caller, "UNAUTHENTICATED")
        variables = await requests.variables(operation)
        answered = await api.first(operation, variables, caller, stir)
        assert (answered.code, answered.status) == (
            code,
            401 if caller in BAD_KEYS else 200,
        ), caller


async def test_lists_show_each_caller_its_own(api: Api, tenants: Tenants) -> None:
    own = {str(tenants.organization), str(tenants.sibling)}
    foreign = {str(tenants.organization_elsewhere)}
    seen = {
        Caller.ORGANIZATION: {str(tenants.organization)},
        Caller.SIBLING: {str(tenants.sibling)},
        Caller.PROJECT: own,
        Caller.ELSEWHERE: foreign,
    }
    for caller, expected in seen.items():
        page = (await api.run("organizations", {"count": True}, caller)).result
        assert {node["id"] for node in page["nodes"]} == expected
        assert page["totalCount"] == len(expected)
    variables = {"count": True, "projectId": str(tenants.project)}
    page = (await api.run("organizations", variables, Caller.ADMIN)).result
    assert ({node["id"] for node in page["nodes"]}, page["totalCount"]) == (own, 2)
    projects = {
        Caller.PROJECT: {str(tenants.project)},
        Caller.ELSEWHERE: {str(tenants.elsewhere)},
    }
    for caller, expected in projects.items():
        page = (await api.run("projects", {"count": True}, caller)).result
        assert {node["id"] for node in page["nodes"]} == expected
        assert page["totalCount"] == len(expected)


@pytest.mark.parametrize("caller", [Caller.PROJECT, Caller.ORGANIZATION])
async def test_asking_for_the_organizations_of_another_project_finds_none(
    caller: Caller, api: Api, tenants: Tenants
) -> None:
    variables = {"projectId": str(tenants.elsewhere), "count": True}
    page = (await api.run("organizations", variables, caller)).result
    assert (page["nodes"], page["totalCount"]) == ([], 0)


async def test_the_page_size_is_checked_before_the_project(api: Api, tenants: Tenants) -> None:
    variables = {"projectId": str(tenants.elsewhere), "first": 0}
    assert (await api.run("organizations", variables, Caller.PROJECT)).code == "VALIDATION_ERROR"


async def test_a_missing_organization_looks_like_that_of_another_project(
    api: Api, tenants: Tenants
) -> None:
    for unseen in (str(tenants.organization_elsewhere), "00000000-0000-4000-8000-000000000000"):
        answered = await api.run("organization", {"id": unseen}, Caller.PROJECT)
        [error] = answered.body["errors"]
        extensions = error["extensions"] | {"requestId": "any", "id": "any"}
        assert extensions == {
            "code": "NOT_FOUND",
            "kind": "organization",
            "id": "any",
            "requestId": "any",
        }


async def test_a_key_of_the_project_reads_the_balances_of_its_own_organizations_alone(
    api: Api, tenants: Tenants
) -> None:
    document = "{ organizations { nodes { id creditBalance { organizationId available } } } }"
    page = (await api.send(document, caller=Caller.PROJECT)).result
    assert sorted(node["creditBalance"]["organizationId"] for node in page["nodes"]) == sorted(
        [str(tenants.organization), str(tenants.sibling)]
    )
    assert {node["creditBalance"]["available"] for node in page["nodes"]} == {"100"}
