"""Documents of the contract by their digest, over each way that leads to the engine."""

import json
from hashlib import sha256
from typing import Any

import pytest

from db.driver import Connection
from tests.graphql.requests import Requests, everything
from tests.support.api import CONTRACT, Api, document, unique
from tests.support.callers import Caller, Tenants
from tests.support.ways import MUTATING, STREAMING, Told, Way, ask, line


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def persisted(hexadecimal: str) -> dict[str, Any]:
    """Return a digest as Apollo's clients send it."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hexadecimal}}}


NAMINGS: dict[str, Any] = {
    "documentId": lambda hexadecimal: {"documentId": f"sha256:{hexadecimal}"},
    "bare documentId": lambda hexadecimal: {"documentId": hexadecimal},
    "capitals": lambda hexadecimal: {"documentId": f"sha256:{hexadecimal.upper()}"},
    "persistedQuery": persisted,
    "both": lambda hexadecimal: {"documentId": hexadecimal} | persisted("0" * 64),
}
UNKNOWN = digest("query Never { __typename }")


def fresh(field: str = "__typename") -> str:
    """Return a document that nobody has sent before, and the contract has not."""
    return f"query {unique('q').replace('-', '_')} {{ {field} }}"


def project(slug: str) -> dict[str, Any]:
    return {"input": {"slug": slug, "name": "x", "idempotencyKey": slug}}


@pytest.mark.parametrize("way", Way)
async def test_a_document_is_run_by_its_digest(way: Way, api: Api, tenants: Tenants) -> None:
    variables = {"organizationId": str(tenants.organization), "amount": "2.5"}
    sent = await api.run("creditBalanceCheck", variables, Caller.ORGANIZATION)
    assert sent.result["required"] == "2.5"
    for naming in NAMINGS.values():
        named = naming(digest(document("creditBalanceCheck")))
        told = await ask(api, way, named | {"variables": variables}, Caller.ORGANIZATION)
        assert told.data == sent.data
        assert told.payload["extensions"] == sent.body["extensions"]


@pytest.mark.parametrize("way", MUTATING)
async def test_a_mutation_is_done_by_its_digest(way: Way, api: Api) -> None:
    for naming in NAMINGS.values():
        slug = unique("p")
        named = naming(digest(document("createProject")))
        told = await ask(api, way, named | {"variables": project(slug)})
        assert told.data["createProject"]["project"]["slug"] == slug
        assert told.data["createProject"]["replayed"] is False


@pytest.mark.parametrize("way", [Way.GET, Way.EVENTS_BY_GET])
async def test_a_mutation_named_by_get_is_refused_and_not_done(
    way: Way, api: Api, admin: Connection
) -> None:
    before = await everything(admin)
    for naming in NAMINGS.values():
        named = naming(digest(document("createProject")))
        told = await ask(api, way, named | {"variables": project(unique("p"))})
        assert (told.status, told.code) == (405, "METHOD_NOT_ALLOWED")
    assert await everything(admin) == before


@pytest.mark.parametrize("way", STREAMING)
async def test_a_subscription_begins_by_its_digest(way: Way, api: Api, tenants: Tenants) -> None:
    variables = {"organizationId": str(tenants.organization)}
    for naming in NAMINGS.values():
        named = naming(digest(document("creditBalanceUpdated")))
        told = await ask(api, way, named | {"variables": variables}, Caller.ORGANIZATION)
        assert told.data["creditBalanceUpdated"]["available"] == "100"


@pytest.mark.parametrize("operation", ["organizations", "creditBalance"])
async def test_the_operation_of_a_named_document_may_be_named_too(
    operation: str, api: Api, requests: Requests
) -> None:
    name = operation[0].upper() + operation[1:]
    body = {
        "documentId": digest(document(operation)),
        "variables": await requests.variables(operation),
    }
    for way in Way:
        told = await ask(api, way, body | {"operationName": name})
        assert told.data[operation] is not None
        told = await ask(api, way, body | {"operationName": "Other"})
        assert told.code == "BAD_REQUEST"
        assert "'Other'" in told.error["message"]


MANIFEST = json.loads((CONTRACT / "documents.json").read_text("utf-8"))["operations"]


@pytest.mark.parametrize("entry", MANIFEST, ids=[entry["name"] for entry in MANIFEST])
async def test_each_entry_of_the_manifest_is_known_by_its_id(
    entry: dict[str, str], api: Api, requests: Requests
) -> None:
    operation = entry["name"][0].lower() + entry["name"][1:]
    variables = await requests.variables(operation)
    told = await ask(api, Way.POST, persisted(entry["id"]) | {"variables": variables})
    if entry["type"] == "subscription":
        # It is found: what it lacks is a way to be answered again and again.
        assert "A subscription needs a WebSocket" in told.error["message"]
    else:
        assert told.data[operation] is not None


# Digests that name nothing.


def check_not_found(told: Told, way: Way) -> None:
    # Apollo's clients look for the code; older ones for how the message begins.
    assert told.code == "PERSISTED_QUERY_NOT_FOUND"
    assert told.error["message"].startswith("PersistedQueryNotFound")
    assert told.error["extensions"].keys() == {"code", "requestId"}
    expected = {Way.POST: 400, Way.GET: 400, Way.SOCKET: None}
    assert told.status == expected.get(way, 200)


@pytest.mark.parametrize("way", Way)
async def test_a_digest_of_no_document_is_not_found(way: Way, api: Api, admin: Connection) -> None:
    before = await everything(admin)
    for naming in NAMINGS.values():
        check_not_found(await ask(api, way, naming(UNKNOWN)), way)
    for malformed in ("", "sha256:", "sha512:" + UNKNOWN, UNKNOWN[:-1], "\x00", "ü" * 64):
        for naming in NAMINGS.values():
            check_not_found(await ask(api, way, naming(malformed)), way)
    assert await everything(admin) == before


@pytest.mark.parametrize("way", MUTATING)
async def test_a_digest_with_its_text_is_run_but_makes_nothing_known(
    way: Way, api: Api, admin: Connection
) -> None:
    for naming in NAMINGS.values():
        text = document("createProject") + f"# {unique()}\n"
        named = naming(digest(text)) | {"variables": project(unique("p"))}
        told = await ask(api, way, named | {"query": text})
        assert told.data["createProject"]["__typename"] == "CreateProjectSuccess"
        before = await everything(admin)
        for any_way in Way:
            check_not_found(await ask(api, any_way, named), any_way)
        assert await everything(admin) == before


@pytest.mark.parametrize("way", MUTATING)
async def test_a_text_that_has_another_digest_is_refused(
    way: Way, api: Api, admin: Connection
) -> None:
    mutation, query = document("createProject"), document("projects")
    before = await everything(admin)
    for naming in NAMINGS.values():
        for named, text in (
            # Whichever of the two is trusted, neither is run.
            (digest(mutation), query),
            (digest(query), mutation),
            (UNKNOWN, mutation),
            (digest(mutation), fresh()),
            (digest(mutation), mutation + " "),
            ("", mutation),
        ):
            body = naming(named) | {"query": text, "variables": project(unique("p"))}
            told = await ask(api, way, body)
            assert told.code == "BAD_REQUEST"
            assert "`query` has another digest than was sent." in told.error["message"]
            assert told.status == (400 if way is Way.POST else None if way is Way.SOCKET else 200)
    assert await everything(admin) == before


MALFORMED: dict[str, dict[str, Any]] = {
    "digest missing": {"extensions": {"persistedQuery": {"version": 1}}},
    "digest null": {"extensions": {"persistedQuery": {"sha256Hash": None}}},
    "digest number": {"extensions": {"persistedQuery": {"sha256Hash": 5}}},
    "digest list": {"extensions": {"persistedQuery": {"sha256Hash": [UNKNOWN]}}},
    "string": {"extensions": {"persistedQuery": UNKNOWN}},
    "list": {"extensions": {"persistedQuery": [UNKNOWN]}},
    "number": {"extensions": {"persistedQuery": 0}},
    "false": {"extensions": {"persistedQuery": False}},
}


@pytest.mark.parametrize("way", Way)
async def test_a_digest_of_a_wrong_type_is_refused_with_or_without_a_text(
    way: Way, api: Api
) -> None:
    for what, malformed in MALFORMED.items():
        for text in ({}, {"query": document("projects")}):
            told = await ask(api, way, malformed | text)
            assert told.code == "BAD_REQUEST", what
            assert "`persistedQuery` has no `sha256Hash`." in told.error["message"]


@pytest.mark.parametrize("document_id", [5, 0, False, [], {}, ["x"]])
async def test_a_document_id_of_a_wrong_type_is_refused(document_id: Any, api: Api) -> None:
    for text in ({}, {"query": document("projects")}):
        for accept in ("application/json", "text/event-stream"):
            response = await api.http.post(
                "/graphql",
                json={"documentId": document_id, **text},
                headers=api.headers(accept=accept),
            )
            assert response.status_code == 400
            [error] = response.json()["errors"]
            assert error["extensions"]["code"] == "BAD_REQUEST"
            assert "`documentId` has the wrong type." in error["message"]


@pytest.mark.parametrize("named", [{"documentId": None}, {"extensions": {"persistedQuery": None}}])
async def test_a_digest_that_is_null_is_none(named: dict[str, Any], api: Api) -> None:
    for way in MUTATING:
        told = await ask(api, way, named | {"query": fresh()})
        assert told.data == {"__typename": "Query"}
    told = await ask(api, Way.POST, named)
    assert told.code == "BAD_REQUEST"
    assert "`query` is missing." in told.error["message"]


async def test_one_socket_asks_by_digest_and_by_text_in_turn(api: Api, tenants: Tenants) -> None:
    variables = {"organizationId": str(tenants.organization)}
    by_digest = {"documentId": digest(document("creditBalance")), "variables": variables}
    by_text = {"query": document("creditBalance"), "variables": variables}
    async with line(api) as socket:
        for _ in range(3):
            told = await socket.ask(by_digest)
            assert told.data["creditBalance"]["available"] == "100"
            assert (await socket.ask(by_text)).data == told.data
            # Both at once, where they agree.
            assert (await socket.ask(by_text | by_digest)).data == told.data
            check_not_found(await socket.ask({"documentId": UNKNOWN}), Way.SOCKET)
