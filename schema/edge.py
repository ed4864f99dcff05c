"""GraphQL over HTTP, server-sent events and WebSocket.

Strawberry's router, with its answers to malformed requests mended: media types are
negotiated, bodies bounded, every error is JSON with a code and the request id, and no
request however broken gets a 5xx of its own making. Resolvers know nothing of this.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import orjson
import strawberry
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.exceptions import ConnectionRejectionError
from strawberry.fastapi import GraphQLRouter
from strawberry.http.streaming import SSETransport, merge_stream_with_heartbeat
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app.core.database import Unavailable
from app.core.refusals import CATALOGUE, Refusal
from app.core.telemetry import REQUEST_ID
from schema.build import coded
from schema.context import Context, Services
from schema.streams import EventStream, SocketHandler

_JSON = "application/json"
_GRAPHQL_JSON = "application/graphql-response+json"
_EVENTS = "text/event-stream"
_BEARER = "bearer "
_PATIENCE = 64
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")


class RequestRefused(Exception):  # noqa: N818  # as Refusal
    """A request that never becomes an operation."""

    def __init__(self, code: str, detail: str | None = None, **headers: str) -> None:
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(code)


def refuse(refused: RequestRefused, media_type: str = _JSON) -> Response:
    """Return the answer to a request that is refused whole."""
    entry = CATALOGUE[refused.code]
    extensions: dict[str, Any] = {"code": entry.code}
    if (request_id := REQUEST_ID.get()) is not None:
        extensions["requestId"] = request_id
    message = " ".join(part for part in (entry.message, refused.detail, entry.advice) if part)
    challenge = {"WWW-Authenticate": "Bearer"} if entry.code == "UNAUTHENTICATED" else {}
    return Response(
        orjson.dumps({"errors": [{"message": message, "extensions": extensions}]}),
        status_code=entry.status,
        media_type=media_type,
        headers=refused.headers | challenge,
    )


class Edge(GraphQLRouter[Context, None]):
    """The route `/graphql`."""

    graphql_transport_ws_handler_class = SocketHandler

    def __init__(
        self,
        schema: strawberry.Schema,
        services: Services,
        *,
        body_bytes: int,
        socket_operations: int,
        allowed_origins: list[str],
        ide: Callable[[], Awaitable[Response]] | None,
    ) -> None:
        async def make_context() -> Context:
            return Context(services)

        super().__init__(
            schema,
            path="/graphql",
            # Synchronous getters would send every request through a thread.
            context_getter=make_context,
            graphql_ide=None,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=timedelta(seconds=10),
            max_subscriptions_per_connection=socket_operations,
            allowed_origins=allowed_origins,
        )
        self.add_api_route(
            "/graphql", _refuse_method, methods=["DELETE", "HEAD", "OPTIONS", "PATCH", "PUT"]
        )
        self._body_bytes = body_bytes
        self._ide = ide
        self._events = SSETransport(heartbeat_interval=12)

    async def run(self, request: Any, context: Any = None, root_value: Any = None) -> Any:
        """Serve one request or one socket."""
        if self.is_websocket_request(request):
            return await super().run(request, context=context, root_value=root_value)
        media_type = _JSON
        try:
            media_type = _negotiate(request)
            if self._ide is not None and _wants_page(request):
                return await self._ide()
            data = await self._read(request)
            await context.sign_in(_bearer(request.headers.get("authorization")))
            return await self._serve(request, data, context, media_type)
        except RequestRefused as refused:
            return refuse(refused, _JSON if media_type == _EVENTS else media_type)
        except Refusal as refusal:
            return refuse(RequestRefused(refusal.code), _JSON)
        except Unavailable:
            return refuse(RequestRefused("UNAVAILABLE"), _JSON)

    def decode_json(self, data: str | bytes) -> object:
        """Read a message of a socket. The stock decoder fails on one that is nested deeply."""
        return orjson.loads(data)

    async def on_ws_connect(self, context: Context) -> Any:
        """Learn who opened a socket, from its first message or its handshake."""
        params = getattr(context, "connection_params", None) or {}
        sent = params.get("Authorization", params.get("authorization"))
        websocket = cast("WebSocket", context.request)
        header = websocket.headers.get("authorization")
        try:
            await context.sign_in(_bearer(sent if isinstance(sent, str) else header))
        except (Refusal, Unavailable, RequestRefused) as error:
            raise ConnectionRejectionError from error
        return strawberry.UNSET

    async def _read(self, request: Request) -> dict[str, Any]:
        if request.method == "GET":
            data = _read_query_string(request)
        else:
            content_type = request.headers.get("content-type", "")
            if content_type.partition(";")[0].strip().lower() != _JSON:
                raise RequestRefused("UNSUPPORTED_MEDIA_TYPE")
            try:
                data = orjson.loads(await self._body(request))
            except orjson.JSONDecodeError as error:
                raise RequestRefused("BAD_REQUEST", "The body is not JSON.") from error
        if not isinstance(data, dict):
            raise RequestRefused("BAD_REQUEST", "It is not an object.")
        wrong = [
            name
            for name, kind in (
                ("query", str),
                ("variables", dict),
                ("operationName", str),
                ("extensions", dict),
            )
            if data.get(name) is not None and not isinstance(data[name], kind)
        ]
        if wrong:
            raise RequestRefused("BAD_REQUEST", f"`{wrong[0]}` has the wrong type.")
        if not data.get("query"):
            raise RequestRefused("BAD_REQUEST", "`query` is missing.")
        return data

    async def _body(self, request: Request) -> bytes:
        too_large = RequestRefused(
            "PAYLOAD_TOO_LARGE", f"The limit is {self._body_bytes} bytes.", Connection="close"
        )
        # Who is still sending when a connection ends may not hear the answer: so what is
        # too large, but not absurdly, is read to its end and thrown away.
        patience = self._body_bytes * _PATIENCE
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > patience:
            raise too_large
        body = bytearray()
        received = 0
        try:
            async for chunk in request.stream():
                received += len(chunk)
                if received <= self._body_bytes:
                    body += chunk
                elif received > patience:
                    raise too_large
        except ClientDisconnect as error:
            # No fault of ours; nobody is left to read the answer.
            raise RequestRefused("BAD_REQUEST") from error
        if received > self._body_bytes:
            raise too_large
        return bytes(body)

    async def _serve(
        self, request: Request, data: dict[str, Any], context: Context, media_type: str
    ) -> Response:
        allowed = {OperationType.QUERY}
        if request.method == "POST":
            allowed.add(OperationType.MUTATION)
        if media_type == _EVENTS:
            allowed.add(OperationType.SUBSCRIPTION)
            return self._stream(data, context, allowed)
        try:
            result = await self.schema.execute(
                data["query"],
                variable_values=data.get("variables"),
                context_value=context,
                operation_name=data.get("operationName"),
                allowed_operation_types=allowed,
            )
        except InvalidOperationTypeError as error:
            raise _not_here(error) from error
        except CannotGetOperationTypeError as error:
            raise RequestRefused("BAD_REQUEST", _no_operation(data)) from error
        return _answer(result, media_type)

    def _stream(
        self, data: dict[str, Any], context: Context, allowed: set[OperationType]
    ) -> Response:
        async def frames() -> AsyncIterator[str]:
            try:
                results: Any = await self.schema.stream(
                    data["query"],
                    variable_values=data.get("variables"),
                    context_value=context,
                    operation_name=data.get("operationName"),
                    allowed_operation_types=allowed,
                )
                async for result in results:
                    yield self._events.encode_next(cast("Any", _payload(result)), _encode)
            except (InvalidOperationTypeError, CannotGetOperationTypeError) as error:
                told = str(error)
                if isinstance(error, CannotGetOperationTypeError):
                    told = _no_operation(data)
                wrong = coded(GraphQLError(told, extensions={"code": "BAD_REQUEST"}))
                payload = {"errors": [wrong.formatted]}
                yield self._events.encode_next(cast("Any", payload), _encode)
            yield self._events.encode_complete()

        stream = merge_stream_with_heartbeat(
            cast("Any", frames),
            lambda: self._events.heartbeat_message(_encode),
            interval=self._events.heartbeat_interval,
            send_initial_heartbeat=False,
        )
        return EventStream(stream(), headers=dict(self._events.headers))


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


def _payload(result: ExecutionResult) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if not isinstance(result, PreExecutionError):
        payload["data"] = result.data
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    if result.extensions:
        payload["extensions"] = result.extensions
    return payload


def _answer(result: ExecutionResult, media_type: str) -> Response:
    errors = result.errors or []
    # Without a path, an error is the request's, not a field's: nothing was executed.
    never_ran = result.data is None and bool(errors) and all(e.path is None for e in errors)
    payload = _payload(result)
    if never_ran:
        payload.pop("data", None)
    status = 400 if never_ran and media_type == _GRAPHQL_JSON else 200
    return Response(orjson.dumps(payload), status_code=status, media_type=media_type)


def _no_operation(data: dict[str, Any]) -> str:
    if (name := data.get("operationName")) is not None:
        return f"The document has no operation {name!r}."
    return "The document has no operation, or several: name one with `operationName`."


def _not_here(error: InvalidOperationTypeError) -> RequestRefused:
    if error.operation_type is OperationType.SUBSCRIPTION:
        return RequestRefused(
            "BAD_REQUEST", "A subscription needs a WebSocket, or `Accept: text/event-stream`."
        )
    return RequestRefused("METHOD_NOT_ALLOWED", Allow="POST")


async def _refuse_method() -> Response:
    return refuse(RequestRefused("METHOD_NOT_ALLOWED", Allow="GET, POST"))


def _negotiate(request: Request) -> str:
    """Return the first media type of ours that the client accepts, by its preference."""
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return _JSON
    ranked = sorted(
        (_quality(part) for part in accept.split(",") if part.strip()),
        key=lambda pair: -pair[1],
    )
    refused = {kind for kind, quality in ranked if quality == 0}
    for kind, _ in ranked:
        if kind in refused:
            continue
        if kind in (_JSON, _GRAPHQL_JSON, _EVENTS):
            return kind
        if kind in ("*/*", "application/*", "text/html") and _JSON not in refused:
            return _JSON
        if kind in ("*/*", "application/*") and _GRAPHQL_JSON not in refused:
            return _GRAPHQL_JSON
    raise RequestRefused("NOT_ACCEPTABLE")


def _quality(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return kind, float(parameter[2:]) if _QUALITY.fullmatch(parameter[2:]) else 0.0
    return kind, 1.0


def _wants_page(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and "text/html" in request.headers.get("accept", "")
    )


def _read_query_string(request: Request) -> dict[str, Any]:
    data: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if name in data:
            try:
                data[name] = orjson.loads(data[name])
            except orjson.JSONDecodeError as error:
                raise RequestRefused("BAD_REQUEST", f"`{name}` is not JSON.") from error
    return data


def _bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header; none where none is sent."""
    if header is None or not header.strip():
        return None
    if not header.lower().startswith(_BEARER):
        raise Refusal("UNAUTHENTICATED")
    return header[len(_BEARER) :].strip()
