"""What a client may see of an error: a code and a message, never an exception's text."""

from graphql import GraphQLError, GraphQLSyntaxError, ValueNode

from app.core.database import Unavailable
from app.core.refusals import CATALOGUE, Refusal
from app.core.telemetry import REQUEST_ID, log
from schema import refusals

UNREADABLE = "A value cannot be read."


def coded(error: GraphQLError, *, suggest: bool = True) -> GraphQLError:
    """Return an error as a client may see it; what is a fault of ours goes to the log.

    Without suggestions it does not guess at names, which would tell what there is.
    """
    original = error.original_error
    extensions = dict(error.extensions or {})
    while isinstance(original, GraphQLError):
        extensions = {**(original.extensions or {}), **extensions}
        original = original.original_error
    if isinstance(original, Refusal):
        shown = refusals.error(original)
        message, extensions = shown.message, dict(shown.extensions or {})
    elif isinstance(original, Unavailable):
        message, extensions = CATALOGUE["UNAVAILABLE"].message, {"code": "UNAVAILABLE"}
        log.warning("graphql.unavailable", error=str(original))
    elif original is not None and is_unreadable(error):
        message, extensions = UNREADABLE, {"code": "GRAPHQL_INVALID"}
    elif original is not None:
        message, extensions = CATALOGUE["INTERNAL"].message, {"code": "INTERNAL"}
        log.error("graphql.failed", path=error.path, exc_info=original)
    else:
        message = error.message
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


def is_unreadable(error: GraphQLError) -> bool:
    """Say whether reading a value of the document failed: a number of 5,000 digits."""
    return error.path is None and any(isinstance(node, ValueNode) for node in error.nodes or ())


def _was_given_up(error: GraphQLError) -> bool:
    """Say whether the library stopped at a limit of its own: tokens, nesting, work."""
    if isinstance(error, GraphQLSyntaxError):
        return "Parsing aborted." in error.message
    return error.message == "Validation aborted."
