"""What holds for a request holds by whichever way it comes: no way is the weak one."""

from typing import Any

import pytest
import structlog

from app.credits import Credits
from db.driver import Connection
from tests.graphql.requests import everything
from tests.support.api import Api, unique
from tests.support.callers import Caller
from tests.support.ways import MUTATING, Way, ask

SECRET = "postgresql://app:hunter2@db.internal"  # noqa: S105  # what an exception may hold
ORGANIZATION = "00000000-0000-4000-8000-000000000000"
HIDDEN = ["{ __schema { types { name } } }", '{ __type(name: "Query") { name } }']
MISSPELT = ["{ projectz { nodes { id } } }", "{ projects(frist: 1) { nodes { id } } }"]
DEARLY = "{ edges { node { creditBalance { version } } } }"
TOO_COMPLEX = {
    "aliases": "{ projects {" + " ".join(f"a{n}: __typename" for n in range(31)) + "} }",
    "levels": "{a" * 16 + "}" * 16,
    "root fields": "{" + "__typename " * 21 + "}",
    "tokens": "{" + "__typename " * 2_001 + "}",
    "cost": "{" + " ".join(f"a{n}: organizations(first: 100) {DEARLY}" for n in range(20)) + "}",
}


@pytest.mark.parametrize("way", Way)
async def test_production_keeps_its_schema_to_itself(way: Way, production: Api) -> None:
    for query in HIDDEN:
        told = await ask(production, way, {"query": query})
        assert "data" not in told.payload
        codes = {error["extensions"]["code"] for error in told.payload["errors"]}
        assert codes == {"GRAPHQL_INVALID"}
    for query in MISSPELT:
        told = await ask(production, way, {"query": query})
        assert told.code == "GRAPHQL_INVALID"
        assert "Did you mean" not in told.error["message"]


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("what", TOO_COMPLEX)
async def test_a_document_beyond_a_limit_is_refused(what: str, way: Way, production: Api) -> None:
    for caller in (Caller.ADMIN, Caller.ANONYMOUS):
        told = await ask(production, way, {"query": TOO_COMPLEX[what]}, caller)
        assert "data" not in told.payload
        codes = {error["extensions"]["code"] for error in told.payload["errors"]}
        assert "QUERY_TOO_COMPLEX" in codes
        # The limit it is beyond, by its name; the others are not reached.
        messages = [error["message"] for error in told.payload["errors"]]
        assert any(what in message for message in messages), messages


@pytest.mark.parametrize("way", Way)
async def test_a_fault_is_told_by_its_code_alone(
    way: Way, production: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Credits, "check_balance", fail)
    query = f'{{ creditBalance(organizationId: "{ORGANIZATION}") {{ version }} }}'
    with structlog.testing.capture_logs() as lines:
        told = await ask(production, way, {"query": query})
    assert told.payload["data"] is None
    [error] = told.payload["errors"]
    assert error["extensions"].keys() == {"code", "requestId"}
    assert error["extensions"]["code"] == "INTERNAL"
    assert "hunter2" not in str(told.payload)
    # Whoever runs the server is told all of it.
    [line] = [line for line in lines if line["event"] == "graphql.failed"]
    assert SECRET in str(line["exc_info"])


def creating() -> str:
    return (
        f'mutation {{ createProject(input: {{slug: "{unique("p")}", name: "x",'
        f' idempotencyKey: "{unique()}"}}) {{ __typename }} }}'
    )


ESCAPED = str.maketrans({'"': '\\"'})
SIMPLE: dict[str, Any] = {
    # What a page of another site can post without asking, with a person's cookies.
    "form": lambda text: {"data": {"query": text}},
    "text": lambda text: {
        "content": f'{{"query": "{text.translate(ESCAPED)}"}}',
        "headers": {"content-type": "text/plain"},
    },
    "multipart": lambda text: {"files": {"query": (None, text)}},
    # An upload as the multipart specification has it.
    "upload": lambda text: {
        "files": {
            "operations": (None, f'{{"query": "{text.translate(ESCAPED)}", "variables": {{}}}}'),
            "map": (None, '{"0": ["variables.file"]}'),
            "0": ("file.txt", b"content", "text/plain"),
        }
    },
}


@pytest.mark.parametrize("how", SIMPLE)
async def test_what_needs_no_preflight_is_not_taken_and_moves_nothing(
    how: str, site: Api, admin: Connection
) -> None:
    before = await everything(admin)
    sent = SIMPLE[how](creating())
    headers = site.headers() | sent.pop("headers", {})
    response = await site.http.post("/graphql", headers=headers, **sent)
    [error] = response.json()["errors"]
    assert (response.status_code, error["extensions"]["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await everything(admin) == before


async def test_a_batch_is_refused_whole_and_moves_nothing(site: Api, admin: Connection) -> None:
    before = await everything(admin)
    batch = [{"query": creating()}, {"query": creating()}]
    for accept in ("application/json", "text/event-stream"):
        headers = site.headers(accept=accept)
        response = await site.http.post("/graphql", json=batch, headers=headers)
        [error] = response.json()["errors"]
        assert (response.status_code, error["extensions"]["code"]) == (400, "BAD_REQUEST")
    assert await everything(admin) == before


@pytest.mark.parametrize("way", [Way.POST, Way.GET])
async def test_a_subscription_by_a_plain_request_is_told_where_it_goes(way: Way, site: Api) -> None:
    field = f'creditBalanceUpdated(organizationId: "{ORGANIZATION}")'
    told = await ask(site, way, {"query": f"subscription {{ {field} {{ version }} }}"})
    assert (told.status, told.code) == (400, "BAD_REQUEST")
    assert "needs a WebSocket, or `Accept: text/event-stream`" in told.error["message"]


@pytest.mark.parametrize("way", MUTATING)
async def test_nothing_is_deferred_or_streamed(way: Way, site: Api) -> None:
    for query in ("{ ... @defer { __typename } }", "{ projects { nodes @stream { id } } }"):
        told = await ask(site, way, {"query": query})
        assert told.code == "GRAPHQL_INVALID"
        assert "Unknown directive" in told.error["message"]
