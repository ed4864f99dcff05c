"""From a request to its answer: the document, the operation, its execution."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution.execute import create_source_event_stream
from graphql.execution.values import get_variable_values

from schema.context import Context
from schema.documents import Document, Documents, Operation, digest_of
from schema.errors import coded
from schema.execution import LeafExecutor, leaves_of
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
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001  # Strawberry describes it; we run it
        self._leaves = leaves_of(self._schema)
        self._cost_limit = limits.cost
        self._suggest = introspection
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
        for text in trusted:
            self.documents.trust(text)

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
        executor = self._executor(operation, variables, context)
        if isinstance(executor, list):
            return self.refused(executor)
        result: Any = executor.run()
        if not isinstance(result, ExecutionResult):
            result = await result
        return self._payload(result, operation, variables)

    async def subscribe(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Context
    ) -> AsyncGenerator[Payload]:
        """Run anything as a stream: one answer of a query, each event of a subscription."""
        if operation.type is not OperationType.SUBSCRIPTION:
            yield await self.execute(operation, variables, context)
            return
        executor = self._executor(operation, variables, context)
        if isinstance(executor, list):
            yield self.refused(executor)
            return
        source: Any = create_source_event_stream(executor)
        if executor.is_awaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield self._payload(source, operation, variables)
            return
        try:
            async with aclosing(source):
                async for event in source:
                    each = cast("LeafExecutor", executor.build_per_event_executor(event))
                    result: Any = each.run()
                    if not isinstance(result, ExecutionResult):
                        result = await result
                    yield self._payload(result, operation, variables)
        except Exception as error:  # noqa: BLE001  # told with its code, logged if it is ours
            failed = GraphQLError(str(error), operation.node, path=[], original_error=error)
            yield {"data": None, "errors": [coded(failed, suggest=self._suggest).formatted]}

    def refused(self, errors: Iterable[GraphQLError]) -> Payload:
        """Return the answer to a request that was not executed: it has no data."""
        return {"errors": [coded(error, suggest=self._suggest).formatted for error in errors]}

    def _executor(
        self, operation: Operation, variables: Mapping[str, Any] | None, context: Context
    ) -> LeafExecutor | list[GraphQLError]:
        if operation.cost.of(variables) > self._cost_limit:
            return [too_complex("points of cost", self._cost_limit)]
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

    def _payload(
        self, result: ExecutionResult, operation: Operation, variables: Mapping[str, Any] | None
    ) -> Payload:
        payload: Payload = {"data": result.data}
        if result.errors:
            payload["errors"] = [
                coded(error, suggest=self._suggest).formatted for error in result.errors
            ]
        if operation.type is not OperationType.SUBSCRIPTION:
            cost = {"requested": operation.cost.of(variables), "maximum": self._cost_limit}
            payload["extensions"] = {"cost": cost}
        return payload


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
