"""Assembles the schema."""

from collections.abc import Iterator
from contextlib import suppress

import strawberry
from graphql import (
    ASTValidationRule,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    ValueNode,
)
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import (
    AddValidationRules,
    MaskErrors,
    MaxTokensLimiter,
    ParserCache,
    SchemaExtension,
    ValidationCache,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext

from app.core.database import Unavailable
from app.core.refusals import CATALOGUE, Refusal
from app.core.telemetry import REQUEST_ID, log
from schema import refusals
from schema.credits.mutations import CreditMutations
from schema.credits.queries import CreditQueries
from schema.credits.subscriptions import CreditSubscriptions
from schema.identity.mutations import IdentityMutations
from schema.identity.queries import IdentityQueries
from schema.limits import make_rules
from schema.scalars import SCALARS

_DOCUMENTS_KEPT = 256
# A stream answers these where a plain request is refused whole.
_NO_OPERATION = (CannotGetOperationTypeError, InvalidOperationTypeError, MissingQueryError)


@strawberry.type(description="What can be asked.")
class Query(CreditQueries, IdentityQueries):
    """The queries of all domains."""


@strawberry.type(description="What can be done. Each answers its result or a refusal.")
class Mutation(CreditMutations, IdentityMutations):
    """The mutations of all domains."""


@strawberry.type(description="What can be watched, over WebSocket or server-sent events.")
class Subscription(CreditSubscriptions):
    """The subscriptions of all domains."""


def coded(error: GraphQLError, *, suggest: bool = True) -> GraphQLError:
    """Return an error as a client may see it: a code, a message, never an exception's text.

    Without suggestions it does not guess at names, which would tell what there is.
    """
    original = error.original_error
    while isinstance(original, GraphQLError):
        if original.extensions:
            error.extensions = {**original.extensions, **(error.extensions or {})}
        original = original.original_error
    if isinstance(original, Refusal):
        shown = refusals.error(original)
        message, extensions = shown.message, dict(shown.extensions or {})
    elif isinstance(original, Unavailable):
        message, extensions = CATALOGUE["UNAVAILABLE"].message, {"code": "UNAVAILABLE"}
        log.warning("graphql.unavailable", error=str(original))
    elif isinstance(original, _NO_OPERATION):
        message, extensions = error.message, {"code": "BAD_REQUEST"}
    elif original is not None and _is_unreadable(error):
        message, extensions = "A value cannot be read.", {"code": "GRAPHQL_INVALID"}
    elif original is not None:
        message, extensions = CATALOGUE["INTERNAL"].message, {"code": "INTERNAL"}
        log.error("graphql.failed", path=error.path, exc_info=original)
    else:
        message, extensions = error.message, dict(error.extensions or {})
        extensions.setdefault(
            "code", "QUERY_TOO_COMPLEX" if _was_given_up(error) else "GRAPHQL_INVALID"
        )
    if (request_id := REQUEST_ID.get()) is not None:
        extensions["requestId"] = request_id
    return GraphQLError(
        message if suggest else message.partition(" Did you mean ")[0],
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def _is_unreadable(error: GraphQLError) -> bool:
    """Say whether reading a value of the document failed: a number of 5,000 digits."""
    return error.path is None and any(isinstance(node, ValueNode) for node in error.nodes or ())


def _was_given_up(error: GraphQLError) -> bool:
    """Say whether the library stopped at a limit of its own: tokens, nesting, work."""
    if isinstance(error, GraphQLSyntaxError):
        return "Parsing aborted." in error.message
    return error.message == "Validation aborted."


class CachedDocuments(ParserCache):
    """Keeps parsed documents. One that cannot be parsed is left to fail where it is caught."""

    def on_parse(self) -> Iterator[None]:
        """Parse, or look up what was parsed before."""
        context = self.execution_context
        with suppress(GraphQLError):
            context.graphql_document = self.cached_parse_document(
                context.query, **context.parse_options
            )
        yield


class OneOperation(SchemaExtension):
    """Refuses several operations of which none is named; the library would run the first."""

    def on_validate(self) -> Iterator[None]:
        """Count the operations of a document that was parsed."""
        context = self.execution_context
        named = context._provided_operation_name is not None  # noqa: SLF001  # no other way
        definitions = context.graphql_document.definitions if context.graphql_document else ()
        operations = [node for node in definitions if isinstance(node, OperationDefinitionNode)]
        if len(operations) > 1 and not named:
            raise CannotGetOperationTypeError(None)
        yield


class CodedErrors(MaskErrors):
    """Gives every error its code, and hides what is not the client's to read."""

    def __init__(self, *, suggest: bool) -> None:
        super().__init__()
        self._suggest = suggest

    def _process_errors(self, errors: list[GraphQLError]) -> list[GraphQLError]:
        return [coded(error, suggest=self._suggest) for error in errors]


class Schema(strawberry.Schema):
    """A schema that does not log what clients get wrong: `coded` logs our own faults."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Leave it to `coded`."""


def make_schema(
    *,
    tokens: int = 2_000,
    depth: int = 15,
    aliases: int = 30,
    root_fields: int = 20,
    introspection: bool = True,
) -> strawberry.Schema:
    """Return the schema with its limits, which are built here, once."""
    rules: list[type[ASTValidationRule]] = list(
        make_rules(
            depth=depth, aliases=aliases, root_fields=root_fields, introspection=introspection
        )
    )
    extensions: list[type[SchemaExtension] | object] = [
        lambda: CodedErrors(suggest=introspection),
        OneOperation,
        lambda: AddValidationRules(rules),
        lambda: MaxTokensLimiter(tokens),
        lambda: CachedDocuments(_DOCUMENTS_KEPT),
        lambda: ValidationCache(_DOCUMENTS_KEPT),
    ]
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=extensions,  # type: ignore[arg-type]  # factories are allowed
        config=StrawberryConfig(scalar_map=SCALARS),
    )
