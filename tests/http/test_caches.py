"""What makes a request cheap: documents are kept, and no thread is started for it."""

import threading

import anyio.to_thread
import graphql
import pytest
from graphql import build_schema

from schema import documents
from tests.support.api import Api, document, unique
from tests.support.callers import Caller


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts that are validated from here on."""
    texts: list[str] = []
    validate = graphql.validate

    def spy(*arguments: object, **options: object) -> object:
        source = arguments[1].loc.source  # type: ignore[attr-defined]
        texts.append(source.body)
        return validate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(documents, "validate", spy)
    return texts


def fresh() -> str:
    """Return a document that nobody has sent before."""
    return f"query {unique('q').replace('-', '_')} {{ __typename }}"


async def test_a_document_is_validated_once(site: Api, prepared: list[str]) -> None:
    query = fresh()
    for _ in range(20):
        assert (await site.send(query)).data == {"__typename": "Query"}
    assert prepared == [query]


async def test_what_the_contract_has_is_never_validated_again(
    site: Api, prepared: list[str]
) -> None:
    for first in range(1, 6):
        await site.send(document("projects"), {"first": first})
        await site.send(document("projects"), {"first": first}, Caller.ANONYMOUS)
    assert prepared == []


async def test_variables_and_callers_share_a_document(site: Api, prepared: list[str]) -> None:
    query = f"{document('projects')} # {unique()}"
    for first in range(1, 6):
        assert (await site.send(query, {"first": first})).code == "OK"
        assert (await site.send(query, {"first": first}, Caller.ANONYMOUS)).code != "OK"
    assert prepared == [query]


async def test_an_invalid_document_is_validated_once_and_refused_each_time(
    site: Api, prepared: list[str]
) -> None:
    query = fresh().replace("__typename", "nothing")
    ids = set()
    for _ in range(5):
        answered = await site.send(query)
        assert answered.code == "GRAPHQL_INVALID"
        ids.add(answered.body["errors"][0]["extensions"]["requestId"])
    assert prepared == [query]
    # What is kept is not the answer: each has the id of its own request.
    assert len(ids) == 5


async def test_the_documents_that_are_kept_are_bounded(
    site: Api, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_KEPT", 3)
    queries = [fresh() for _ in range(4)]
    for query in (*queries, *queries[1:], queries[0]):
        assert (await site.send(query)).code == "OK"
    # The fifth time the oldest was gone; what was kept served the three between.
    assert prepared == [*queries, queries[0]]


async def test_the_text_of_the_documents_that_are_kept_is_bounded(
    site: Api, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_KEPT_CHARACTERS", 25_000)
    queries = [fresh().ljust(10_000, ",") for _ in range(3)]
    for query in (*queries, *queries[1:], queries[0]):
        assert (await site.send(query)).code == "OK"
    assert prepared == [*queries, queries[0]]


def test_what_is_kept_of_a_wrong_document_is_what_is_wrong_alone() -> None:
    schema = build_schema("type Query { a: Int }")
    known = documents.Documents(schema, (), tokens=100)
    text = "{ a\n  nothing }"
    document = known.read(text, documents.digest_of(text))
    [error] = document.errors
    assert error.locations is not None
    assert error.formatted["locations"] == [{"line": 2, "column": 3}]
    assert error.nodes is None


async def test_a_number_that_cannot_be_read_is_told_each_time(site: Api) -> None:
    query = f"{{ projects(first: {'9' * 5_000}) {{ nodes {{ id }} }} }}"
    for _ in range(2):
        [error] = (await site.send(query)).body["errors"]
        assert error["message"] == "A value cannot be read."
        assert error["extensions"]["code"] == "GRAPHQL_INVALID"
        assert error["locations"] == [{"line": 1, "column": 19}]


async def test_servers_with_other_limits_do_not_share_their_verdicts(
    site: Api, production: Api
) -> None:
    query = f"query {unique('q').replace('-', '_')} {{ __schema {{ __typename }} }}"
    assert (await site.send(query)).code == "OK"
    assert (await production.send(query)).code == "GRAPHQL_INVALID"


async def test_a_request_starts_no_thread(site: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
    before = set(threading.enumerate())
    for caller in (Caller.ADMIN, Caller.ANONYMOUS):
        for _ in range(10):
            assert (await site.send(fresh(), caller=caller)).status == 200
    slug = unique("p")
    made = await site.run(
        "createProject", {"input": {"slug": slug, "name": "x", "idempotencyKey": unique()}}
    )
    assert made.code == "OK"
    response = await site.http.get(
        "/graphql", params={"query": fresh()}, headers={"graphql-require-preflight": "1"}
    )
    assert response.json()["data"] == {"__typename": "Query"}
    assert set(threading.enumerate()) == before
