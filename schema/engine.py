"""From a request to its answer: the document, the operation, its execution."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import orjson
import strawberry
from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationType,
)
from graphql.execution.execute import create_source_event_stream
from graphql.execution.values import get_variable_values

from schema.context import Context
from schema.documents import Document, Documents, Operation, digest_of
from schema.errors import coded
from schema.execution import LeafExecutor, leaves_of
from schema.groups import Failed, GroupContext, Groups, Keeps, Member, Told, Topic, Wanted
from schema.hot import Bind, HotRead, hot_read
from schema.limits import make_rules, too_complex
from schema.protocol import RequestRefused

_COERCION_ERRORS = 50

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may be; each is told to whom it stops."""

    tokens: int = 2_000
    depth: int = 15
    aliases: int = 30
    root_fields: int = 20
    cost: int = 5_000


class Engine:
    """Answers requests by one schema."""

    def __init__(
        self,
        schema: strawberry.Schema,
        limits: Limits,
        *,
        introspection: bool,
        trusted: Iterable[str] = (),
        only_trusted: bool = False,
        subscribers: int = 10_000,
        hot_reads: Mapping[str, Bind] | None = None,
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001  # Strawberry describes it; we run it
        self._leaves = leaves_of(self._schema)
        self._cost_limit = limits.cost
        self._suggest = introspection
        self._topics = _topics(self._schema)
        self.groups = Groups(subscribers)
        self._only_trusted = only_trusted
        self.documents = Documents(
            self._schema,
            make_rules(
                depth=limits.depth,
                aliases=limits.aliases,
                root_fields=limits.root_fields,
                introspection=introspection,
            ),
            tokens=limits.tokens,
            suggest=introspection,
        )
        self._hot: dict[Operation, HotRead] = {}
        for text in trusted:
            for operation in self.documents.trust(text).operations:
                if (hot := hot_read(operation, hot_reads or {})) is not None:
                    self._hot[operation] = hot

    def operation(self, data: Mapping[str, Any], context: Context) -> Operation | Payload:
        """Return the operation that a request asks for, or what is wrong with its document."""
        document = self._document(data, context)
        if document.errors:
            return self.refused(document.errors)
        name = data.get("operationName")
        operation = document.operation(name)
        if operation is not None:
            return operation
        if name is not None:
            raise RequestRefused("BAD_REQUEST", f"The document has no operation {name!r}.")
        raise RequestRefused(
            "BAD_REQUEST",
            "The document has no operation, or several: name one with `operationName`.",
        )

    def _document(self, data: Mapping[str, Any], context: Context) -> Document:
        """Return the document that a request names or brings."""
        text = data.get("query")
        named = _named(data)
        if not text:
            if named is None:
                raise RequestRefused("BAD_REQUEST", "`query` is missing.")
            document = self.documents.trusted(named)
            if document is None:
                raise RequestRefused("PERSISTED_QUERY_NOT_FOUND")
            return document
        digest = digest_of(text)
        if named is not None and named != digest:
            raise RequestRefused("BAD_REQUEST", "`query` has another digest than was sent.")
        # Before it is parsed: what nobody may run is given no work at all.
        if self._only_trusted and not (
            self.documents.trusted(digest) or context.may_send_any_document
        ):
            raise RequestRefused("DOCUMENT_NOT_TRUSTED")
        return self.documents.read(text, digest)

    async def execute(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Context
    ) -> Payload:
        """Run a query or a mutation."""
        hot = self._hot.get(operation)
        if hot is not None and operation.cost.of(variables) <= self._cost_limit:
            payload = await self._answer(hot, variables, context)
            if payload is not None:
                return payload | {"extensions": self._extensions(operation, variables)}
        executor = self._executor(operation, variables, context)
        if isinstance(executor, list):
            return self.refused(executor)
        result: Any = executor.run()
        if not isinstance(result, ExecutionResult):
            result = await result
        return self._payload(result) | {"extensions": self._extensions(operation, variables)}

    async def _answer(
        self, hot: HotRead, variables: Mapping[str, Any] | None, context: Context
    ) -> Payload | None:
        """Return the answer of a hot read, or that it failed; None if it has none."""
        try:
            answer = await hot.answer(variables, context)
        except Exception as error:  # noqa: BLE001  # told with its code, logged if it is ours
            failed = GraphQLError(str(error), hot.node, path=[hot.key], original_error=error)
            return {"data": None, "errors": [coded(failed, suggest=self._suggest).formatted]}
        return None if answer is None else {"data": {hot.key: orjson.Fragment(answer)}}

    async def begin(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Context
    ) -> Payload | Member:
        """Run anything: return the one answer of it, or who is told each event of it."""
        if operation.type is not OperationType.SUBSCRIPTION:
            return await self.execute(operation, variables, context)
        executor = self._executor(operation, variables, context)
        if isinstance(executor, list):
            return self.refused(executor)

        def failed(*, original_error: Exception) -> Told:
            failure = GraphQLError(
                str(original_error), operation.node, path=[], original_error=original_error
            )
            return _failure([coded(failure, suggest=self._suggest)])

        async def run(run_context: GroupContext) -> AsyncGenerator[Told]:
            executor = self._executor(operation, variables, run_context)
            if not isinstance(executor, list):
                async with aclosing(self._events(executor, failed)) as events:
                    async for told in events:
                        yield told

        topic = self._topics[_root_of(operation)]
        shared = None if topic.keeps is Keeps.OWN else _written(operation, variables)
        key = object() if shared is None else (operation, shared, context.viewer.sight)
        return Member(self.groups, Wanted(key, topic, run, failed), context)

    async def _events(self, executor: LeafExecutor, failed: Failed) -> AsyncGenerator[Told]:
        source: Any = create_source_event_stream(executor)
        if executor.is_awaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield _failure([coded(each, suggest=self._suggest) for each in source.errors or ()])
            return
        try:
            async with aclosing(source):
                async for event in source:
                    each = cast("LeafExecutor", executor.build_per_event_executor(event))
                    result: Any = each.run()
                    if not isinstance(result, ExecutionResult):
                        result = await result
                    payload = self._payload(result)
                    yield Told(
                        orjson.dumps(payload),
                        getattr(event, "version", None),
                        payload["data"],
                        payload.get("errors"),
                    )
        except Exception as error:  # noqa: BLE001  # told with its code, logged if it is ours
            yield failed(original_error=error)

    def refused(self, errors: Iterable[GraphQLError]) -> Payload:
        """Return the answer to a request that was not executed: it has no data."""
        return {"errors": [coded(error, suggest=self._suggest).formatted for error in errors]}

    def _executor(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Context
    ) -> LeafExecutor | list[GraphQLError]:
        cost = operation.cost.of(variables)
        if cost > self._cost_limit:
            return [too_complex("points of cost", self._cost_limit, requested=cost)]
        try:
            values = get_variable_values(
                self._schema,
                operation.node.variable_definitions or (),
                dict(variables or {}),
                _COERCION_ERRORS,
                hide_suggestions=not self._suggest,
            )
        except Exception as error:  # noqa: BLE001  # such as a number of 5,000 digits
            return [GraphQLError(str(error), operation.node, original_error=error)]
        if isinstance(values, list):
            return values
        return LeafExecutor(
            self._schema, self._leaves, operation, values, context, suggest=self._suggest
        )

    def _payload(self, result: ExecutionResult) -> Payload:
        payload: Payload = {"data": result.data}
        if result.errors:
            payload["errors"] = [
                coded(error, suggest=self._suggest).formatted for error in result.errors
            ]
        return payload

    def _extensions(
        self, operation: Operation, variables: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {"cost": {"requested": operation.cost.of(variables), "maximum": self._cost_limit}}


def _topics(schema: GraphQLSchema) -> dict[str, Topic]:
    """Return how each subscription is shared; each says so itself."""
    root = schema.subscription_type
    return {
        name: field.extensions["strawberry-definition"].metadata["topic"]
        for name, field in (root.fields if root is not None else {}).items()
    }


def _root_of(operation: Operation) -> str:
    """Return the only root field of a subscription, by its name."""
    selections = operation.node.selection_set
    while True:
        [node] = selections.selections
        if isinstance(node, FieldNode):
            return node.name.value
        if isinstance(node, FragmentSpreadNode):
            selections = operation.fragment_definitions[node.name.value].selection_set
        else:
            selections = cast("InlineFragmentNode", node).selection_set


def _written(operation: Operation, variables: Mapping[str, Any] | None) -> bytes | None:
    """Return the variables an operation has, as a text; None for what cannot be written."""
    names = {node.variable.name.value for node in operation.node.variable_definitions or ()}
    sent = {name: value for name, value in (variables or {}).items() if name in names}
    try:
        return orjson.dumps(sent, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None


def _failure(errors: list[GraphQLError]) -> Told:
    formatted = [cast("dict[str, Any]", error.formatted) for error in errors]
    payload = orjson.dumps({"data": None, "errors": formatted})
    return Told(payload, None, errors=formatted, is_last=True)


def _named(data: Mapping[str, Any]) -> str | None:
    """Return the digest by which a request names its document, if it does."""
    document_id = data.get("documentId")
    if document_id is None:
        persisted = (data.get("extensions") or {}).get("persistedQuery")
        if persisted is None:
            return None
        document_id = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
        if not isinstance(document_id, str):
            raise RequestRefused("BAD_REQUEST", "`persistedQuery` has no `sha256Hash`.")
    return str(document_id).removeprefix("sha256:").lower()
