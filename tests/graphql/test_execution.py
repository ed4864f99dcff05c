"""Our executor answers as graphql-core's own does: to the byte, errors included.

Both execute the same documents over the same objects, with all that can go wrong in them.
"""

import asyncio
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import strawberry
import structlog
from graphql import (
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    execute,
    parse,
    subscribe,
    type_from_ast,
)
from graphql.execution.execute import create_source_event_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.permission import BasePermission

from schema.build import make_schema
from schema.documents import Operation
from schema.engine import Engine, Limits
from schema.errors import coded
from tests.support.api import document, documents
from tests.support.differential import Sources, rewire
from tests.support.shapes import make_shapes
from tests.support.writing import placeholder, write

EXAMPLES = settings(derandomize=True, deadline=None, database=None)
BOUNDLESS = Limits(tokens=100_000, depth=1_000, aliases=10_000, root_fields=1_000, cost=10**12)
# A seed, how much goes wrong, and what the variables are.
seeds = st.integers(0, 2**32)
harms = st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.4])


def engine_of(schema: strawberry.Schema) -> Engine:
    rewire(schema._schema)
    return Engine(schema, BOUNDLESS, introspection=True)


CONTRACT = engine_of(make_schema())
SHAPES = engine_of(make_shapes())


@pytest.fixture(autouse=True)
def _faults_are_expected() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def told(data: object, errors: list[GraphQLError] | None) -> str:
    """Return all that a client could see, and what it may not: what was raised."""
    return json.dumps(
        {
            "data": data,
            "errors": [error.formatted for error in errors or ()],
            "coded": [coded(error).formatted for error in errors or ()],
            "raised": [repr(type(error.original_error)) for error in errors or ()],
        },
        default=repr,
    )


async def settled() -> None:
    """Let what was left behind come to its end."""
    own = asyncio.current_task()
    for _ in range(100):
        if not [task for task in asyncio.all_tasks() if task is not own and _is_of_execution(task)]:
            return
        await asyncio.sleep(0)


def _is_of_execution(task: "asyncio.Task[Any]") -> bool:
    return "graphql" in str(getattr(task.get_coro(), "cr_code", ""))


async def by_us(engine: Engine, text: str, variables: Any, sources: Sources) -> str:
    context: Any = sources
    operation = engine.operation({"query": text}, context)
    assert isinstance(operation, Operation), operation
    executor = engine._executor(operation, variables, context)
    if isinstance(executor, list):
        return told(None, executor)
    result: Any = executor.run()
    if not isinstance(result, ExecutionResult):
        result = await result
    return told(result.data, result.errors)


async def by_the_library(engine: Engine, text: str, variables: Any, sources: Sources) -> str:
    result: Any = execute(engine._schema, parse(text), None, sources, variables)
    if not isinstance(result, ExecutionResult):
        result = await result
    return told(result.data, result.errors)


async def check(engine: Engine, text: str, variables: Any, seed: int, harm: float) -> None:
    """Execute a document by both, ours twice: what the first run keeps serves the second."""
    sources = Sources(engine._schema, Random(seed), harm)
    expected = await by_the_library(engine, text, variables, sources)
    await settled()
    forgotten = sources.forgotten()
    for _ in range(2):
        assert await by_us(engine, text, variables, sources) == expected, text
        await settled()
        # What an error made needless is left by both.
        assert sources.forgotten() == forgotten


def variables_of(text: str, random: Random) -> dict[str, Any]:
    """Return variables of a document: of their types, but for some."""
    [operation, *_] = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    wrong: list[Any] = [None, 5, "x", [], {}, True, 2**40, -1, {"organizationId": 5}]
    values: dict[str, Any] = {}
    for node in operation.variable_definitions or ():
        type_ = type_from_ast(CONTRACT._schema, node.type)
        values[node.variable.name.value] = placeholder(type_)
    return {
        name: random.choice(wrong) if random.random() < 0.05 else value
        for name, value in values.items()
        if random.random() > 0.05
    } | ({"count": random.random() < 0.5} if "count" in values else {})


@pytest.mark.parametrize(
    "operation", [name for name in documents() if not document(name).startswith("subscription")]
)
@given(seeds, harms)
@settings(EXAMPLES, max_examples=20)
async def test_documents_of_the_contract(operation: str, seed: int, harm: float) -> None:
    text = document(operation)
    await check(CONTRACT, text, variables_of(text, Random(seed)), seed, harm)


def raised(*, error: Exception) -> str:
    """Return what a source raised, to be compared."""
    return repr(error)


async def events_by_the_library(text: str, variables: Any, sources: Sources) -> list[Any]:
    """Return what graphql-core tells of each event of a subscription."""
    result: Any = subscribe(CONTRACT._schema, parse(text), None, sources, variables)
    if hasattr(result, "__await__"):
        result = await result
    if isinstance(result, ExecutionResult):
        return [told(result.data, result.errors)]
    events = []
    try:
        async for each in result:
            events.append(told(each.data, each.errors))  # noqa: PERF401  # it may raise
    except Exception as error:  # noqa: BLE001  # the source's own, to be compared
        events.append(raised(error=error))
    return events


async def events_by_us(text: str, variables: Any, sources: Any) -> list[Any]:
    """Return what we tell of each: one executor for all, and a copy of it for each event."""
    operation = CONTRACT.operation({"query": text}, sources)
    assert isinstance(operation, Operation)
    executor = CONTRACT._executor(operation, variables, sources)
    if isinstance(executor, list):
        return [told(None, executor)]
    source: Any = create_source_event_stream(executor)
    if executor.is_awaitable(source):
        source = await source
    if isinstance(source, ExecutionResult):
        return [told(source.data, source.errors)]
    events = []
    try:
        async for event in source:
            each: Any = executor.build_per_event_executor(event)
            result: Any = each.run()
            if not isinstance(result, ExecutionResult):
                result = await result
            events.append(told(result.data, result.errors))
    except Exception as error:  # noqa: BLE001  # as above
        events.append(raised(error=error))
    return events


@pytest.mark.parametrize(
    "operation", [name for name in documents() if document(name).startswith("subscription")]
)
@given(seeds, harms)
@settings(EXAMPLES, max_examples=40)
async def test_subscriptions_of_the_contract(operation: str, seed: int, harm: float) -> None:
    text = document(operation)
    sources = Sources(CONTRACT._schema, Random(seed), harm)
    variables = variables_of(text, Random(seed))
    expected = await events_by_the_library(text, variables, sources)
    await settled()
    for _ in range(2):
        assert await events_by_us(text, variables, sources) == expected
        await settled()


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.parametrize("engine", [CONTRACT, SHAPES], ids=["contract", "shapes"])
@given(seeds, harms)
@settings(EXAMPLES, max_examples=100)
async def test_any_document(engine: Engine, kind: str, seed: int, harm: float) -> None:
    random = Random(seed)
    text = write(engine._schema, random, kind)
    variables = {name: random.random() < 0.5 for name in "abc"}
    await check(engine, text, variables, seed, harm)


class _Nobody(BasePermission):
    message = "nobody may"

    def has_permission(self, *_: object, **__: object) -> bool:
        return False


@strawberry.type
class _Guarded:
    open: str
    shut: str = strawberry.field(permission_classes=[_Nobody])


@strawberry.type
class _Guard:
    @strawberry.field
    def thing(self) -> _Guarded | None:
        return _Guarded(open="open", shut="secret")


async def test_what_stands_before_an_attribute_is_not_gone_round() -> None:
    # A permission is no resolver of its own: the field still looks like an attribute.
    engine = Engine(strawberry.Schema(_Guard), BOUNDLESS, introspection=True)
    context: Any = None
    operation = engine.operation({"query": "{ thing { open shut } }"}, context)
    assert isinstance(operation, Operation)
    payload = await engine.execute(operation, None, context)
    assert payload["data"] == {"thing": None}
    [error] = payload["errors"]
    assert error["path"] == ["thing", "shut"]
