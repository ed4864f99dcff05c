"""What makes a request cheap: documents are kept, and no thread is started for it."""

import threading
from functools import _CacheInfo

import anyio.to_thread
import pytest
from strawberry.extensions.parser_cache import _get_parse_cache
from strawberry.extensions.validation_cache import _get_validate_cache

from schema.build import _DOCUMENTS_KEPT
from tests.support.api import Api, document, unique
from tests.support.callers import Caller


def parsed() -> _CacheInfo:
    info: _CacheInfo = _get_parse_cache(_DOCUMENTS_KEPT).cache_info()  # type: ignore[attr-defined]
    return info


def validated() -> _CacheInfo:
    info: _CacheInfo = _get_validate_cache(_DOCUMENTS_KEPT).cache_info()  # type: ignore[attr-defined]
    return info


def fresh() -> str:
    """Return a document that nobody has sent before."""
    return f"query {unique('q').replace('-', '_')} {{ __typename }}"


async def test_a_document_is_parsed_and_validated_once(site: Api) -> None:
    query = fresh()
    before = parsed(), validated()
    for _ in range(20):
        assert (await site.send(query)).data == {"__typename": "Query"}
    after = parsed(), validated()
    for first, last in zip(before, after, strict=True):
        assert (last.misses - first.misses, last.hits - first.hits) == (1, 19)


async def test_variables_and_callers_share_a_document(site: Api) -> None:
    query = document("projects")
    await site.send(query)
    before = validated()
    for first in range(1, 6):
        await site.send(query, {"first": first})
        await site.send(query, {"first": first}, Caller.ANONYMOUS)
    after = validated()
    assert (after.misses - before.misses, after.hits - before.hits) == (0, 10)


async def test_an_invalid_document_is_validated_once_and_refused_each_time(site: Api) -> None:
    query = fresh().replace("__typename", "nothing")
    before = validated()
    ids = set()
    for _ in range(5):
        answered = await site.send(query)
        assert answered.code == "GRAPHQL_INVALID"
        ids.add(answered.body["errors"][0]["extensions"]["requestId"])
    after = validated()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 4)
    # What is kept is not the answer: each has the id of its own request.
    assert len(ids) == 5


async def test_a_document_that_cannot_be_parsed_is_not_kept(site: Api) -> None:
    query = fresh() + "{"
    before = parsed()
    for _ in range(3):
        assert (await site.send(query)).code == "GRAPHQL_INVALID"
    assert parsed().currsize == before.currsize
    assert parsed().misses - before.misses == 3


async def test_the_documents_that_are_kept_are_bounded() -> None:
    assert (parsed().maxsize, validated().maxsize) == (_DOCUMENTS_KEPT, _DOCUMENTS_KEPT)


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
    response = await site.http.get("/graphql", params={"query": fresh()})
    assert response.json() == {"data": {"__typename": "Query"}}
    assert set(threading.enumerate()) == before
