"""The route `/graphql`: HTTP, server-sent events and WebSocket over one engine.

Thin ASGI: nothing stands between the server and the engine but what a request needs. Media
types are negotiated, bodies bounded, every error is JSON with a code and the request id,
and no request however broken gets a 5xx of its own making. Resolvers know nothing of this.
"""

import re
from collections.abc import Awaitable, Callable

import orjson
from graphql import OperationType
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.core.database import Unavailable
from app.core.drain import Drain
from app.core.refusals import Refusal
from schema.bodies import Bodies
from schema.context import Context, Services
from schema.documents import Operation
from schema.engine import Engine, Payload
from schema.events import abort_of, stream_events
from schema.protocol import (
    EVENTS,
    GRAPHQL_JSON,
    JSON,
    Headers,
    Reply,
    RequestRefused,
    bearer_of,
    check_content_type,
    check_preflight,
    headers_of,
    negotiate,
    page_of,
    read_body,
    read_query_string,
    refuse,
)
from schema.sockets import Socket

PATH = "/graphql"
_ASKS = re.compile(rb"(?:^|&)(?:query|documentId|extensions)=")


class Edge:
    """Serves one path; an ASGI application."""

    def __init__(
        self,
        engine: Engine,
        services: Services,
        drain: Drain,
        *,
        body_bytes: int,
        body_seconds: float,
        socket_operations: int,
        ide: Callable[[], Awaitable[Response]] | None,
    ) -> None:
        self._engine = engine
        self._services = services
        self._drain = drain
        self._bodies = Bodies(body_bytes, body_seconds)
        self._socket_operations = socket_operations
        self._ide = ide

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one socket."""
        headers = headers_of(scope)
        origin = page_of(headers, self._services.origins)
        context = Context(self._services, page=origin)
        if scope["type"] == "websocket":
            await Socket(
                self._engine,
                context,
                scope,
                receive,
                send,
                headers=headers,
                drain=self._drain,
                operations=self._socket_operations,
                is_let_in=origin is None or self._services.origins.allow(origin),
            ).serve()
            return
        media_type = JSON
        try:
            media_type = negotiate(headers.get("accept", ""))
            if self._wants_page(scope, headers) and self._ide is not None:
                page = await self._ide()
                await page(scope, receive, send)
                return
            reply = await self._reply(scope, headers, media_type, context, receive, send)
        except RequestRefused as refused:
            reply = refuse(refused, _plain(media_type))
        except Refusal as refusal:
            reply = refuse(RequestRefused.of(refusal), _plain(media_type))
        except Unavailable:
            reply = refuse(RequestRefused("UNAVAILABLE"), _plain(media_type))
        if reply is not None:
            await _send(reply, send)

    async def _reply(
        self,
        scope: Scope,
        headers: Headers,
        media_type: str,
        context: Context,
        receive: Receive,
        send: Send,
    ) -> Reply | None:
        """Return the answer; None where it was streamed."""
        method = scope["method"]
        if method == "POST":
            check_content_type(headers.get("content-type", ""))
            data = read_body(await self._bodies.read(headers, receive))
        elif method == "GET":
            check_preflight(headers)
            data = read_query_string(scope["query_string"])
        else:
            raise RequestRefused("METHOD_NOT_ALLOWED", Allow="GET, POST")
        await context.sign_in(bearer_of(headers.get("authorization")))
        try:
            operation = self._engine.operation(data, context)
        except RequestRefused as refused:
            # A reader of events is told what a document lacks as the one result it gets.
            if media_type != EVENTS:
                raise
            operation = {"errors": [refused.error]}
        if not isinstance(operation, Operation):
            if media_type != EVENTS:
                return _reply(operation, media_type)
            await stream_events(operation, receive, send, self._drain, abort_of(scope))
            return None
        if operation.type is OperationType.MUTATION and method == "GET":
            raise RequestRefused("METHOD_NOT_ALLOWED", Allow="POST")
        variables = data.get("variables")
        if media_type == EVENTS:
            began = await self._engine.begin(operation, variables, context)
            await stream_events(began, receive, send, self._drain, abort_of(scope))
            return None
        if operation.type is OperationType.SUBSCRIPTION:
            raise RequestRefused(
                "BAD_REQUEST", "A subscription needs a WebSocket, or `Accept: text/event-stream`."
            )
        payload = await self._engine.execute(operation, variables, context)
        return _reply(payload, media_type)

    def _wants_page(self, scope: Scope, headers: Headers) -> bool:
        return (
            scope["method"] == "GET"
            and not _ASKS.search(scope["query_string"])
            and "text/html" in headers.get("accept", "")
        )


def _plain(media_type: str) -> str:
    """Return in what a request is refused that never became a stream."""
    return JSON if media_type == EVENTS else media_type


def _reply(payload: Payload, media_type: str) -> Reply:
    status = 400 if "data" not in payload and media_type == GRAPHQL_JSON else 200
    return Reply(status, media_type, orjson.dumps(payload))


async def _send(reply: Reply, send: Send) -> None:
    headers = [
        (b"content-type", reply.media_type.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
