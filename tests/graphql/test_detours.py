"""Nothing runs around a request or a field but what it needs: no extension, hook or thread.

Strawberry's extensions would not even run: it describes the schema, it does not execute it.
Who adds one has to be told so here, and not by its absence in production.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    get_nullable_type,
    is_leaf_type,
    specified_directives,
)

from app.main import make_engine
from app.settings import Settings
from schema.build import make_schema
from schema.documents import Operation
from schema.execution import LeafExecutor
from schema.refusals import RefusalsAsData
from tests.graphql.requests import Requests
from tests.support.api import Api, document, documents, unique
from tests.support.callers import Caller, Tenants
from tests.support.ways import MUTATING, STREAMING, Way, ask

SCHEMA = make_schema()
ENGINE = make_engine(Settings(_env_file=None))
OF_STRAWBERRY = "GraphQLCoreConverter.from_resolver.<locals>."


def fields() -> Iterator[tuple[str, GraphQLField]]:
    for name, type_ in ENGINE._schema.type_map.items():
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and name[:2] != "__":
            for field_name, field in type_.fields.items():
                yield f"{name}.{field_name}", field


def test_the_schema_carries_no_extension() -> None:
    assert list(SCHEMA.extensions) == []
    assert list(SCHEMA.get_extensions()) == []
    assert list(SCHEMA.exception_handlers) == []
    assert list(SCHEMA._schema.directives) == list(specified_directives)


def test_fields_carry_none_but_mutations_their_refusals() -> None:
    extended = {
        name: [type(extension) for extension in definition.extensions]
        for name, field in fields()
        if (definition := field.extensions["strawberry-definition"]).extensions
    }
    mutations = ENGINE._schema.mutation_type
    assert mutations is not None
    assert extended == {f"Mutation.{name}": [RefusalsAsData] for name in mutations.fields}
    guarded = [
        name
        for name, field in fields()
        if field.extensions["strawberry-definition"].permission_classes
    ]
    assert guarded == []


def test_resolvers_are_wrapped_by_nothing() -> None:
    # As Strawberry made them from the schema's own functions; a hook that measures or
    # traces each field would stand here.
    for name, field in fields():
        assert field.resolve is not None
        made = field.subscribe or field.resolve
        assert made.__qualname__.startswith(OF_STRAWBERRY), name
        assert not hasattr(made, "__wrapped__"), name


def test_an_executor_has_no_middleware_and_no_hooks() -> None:
    nobody: Any = None
    operation = ENGINE.operation({"query": "{ __typename }"}, nobody)
    assert isinstance(operation, Operation)
    executor = ENGINE._executor(operation, None, nobody)
    assert type(executor) is LeafExecutor
    assert executor.middleware_manager is None
    assert executor.hooks is None


def test_every_attribute_that_is_a_leaf_goes_the_short_way() -> None:
    long = {
        f"{name}.{field_name}: {field.type}"
        for name, type_ in ENGINE._schema.type_map.items()
        if isinstance(type_, GraphQLObjectType) and name[:2] != "__"
        for field_name, field in type_.fields.items()
        if is_leaf_type(get_nullable_type(field.type))
        and field.extensions["strawberry-definition"].is_basic_field
        and field_name not in ENGINE._leaves[type_]
    }
    # It takes anything, and so would what has yet to be awaited.
    assert {each.partition(": ")[2] for each in long} == {"JSON"}


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever asks for a thread from here on, gets none."""
    asked: list[str] = []

    def refuse(*_: object, **__: object) -> Any:
        asked.append("a thread")
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    monkeypatch.setattr(anyio.to_thread, "run_sync", refuse)
    return asked


async def test_a_thread_that_is_asked_for_is_noticed(threads: list[str]) -> None:
    for attempt in (
        lambda: asyncio.to_thread(len, ""),
        lambda: asyncio.get_running_loop().run_in_executor(None, len, ""),
        lambda: anyio.to_thread.run_sync(len, ""),
    ):
        with pytest.raises(AssertionError, match="a thread was asked for"):
            await attempt()
    assert len(threads) == 3


@pytest.mark.parametrize(
    "operation", [name for name in documents() if not document(name).startswith("subscription")]
)
async def test_no_operation_uses_a_thread(
    operation: str, api: Api, requests: Requests, threads: list[str]
) -> None:
    ways = MUTATING if document(operation).startswith("mutation") else tuple(Way)
    before = set(threading.enumerate())
    for way in ways:
        variables = await requests.variables(operation)
        body = {"query": document(operation), "variables": variables}
        assert (await ask(api, way, body)).data[operation] is not None
        # What is sent as a text of its own is parsed and validated first.
        variables = await requests.variables(operation)
        text = f"{document(operation)}# {unique()}"
        told = await ask(api, way, {"query": text, "variables": variables})
        assert told.data[operation] is not None
    assert threads == []
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("way", STREAMING)
async def test_no_subscription_uses_a_thread(
    way: Way, api: Api, tenants: Tenants, threads: list[str]
) -> None:
    before = set(threading.enumerate())
    variables = {"organizationId": str(tenants.organization)}
    for caller in (Caller.ADMIN, Caller.ORGANIZATION, Caller.PROJECT):
        body = {"query": document("creditBalanceUpdated"), "variables": variables}
        assert (await ask(api, way, body, caller)).data["creditBalanceUpdated"]["version"]
    assert threads == []
    assert set(threading.enumerate()) == before
