"""What surrounds every request: its id, its log line, and errors that are JSON."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any
from uuid import uuid4

import orjson
from prometheus_client import Counter
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.drain import Drain
from app.core.refusals import CATALOGUE
from app.core.telemetry import REQUEST_ID, REQUESTS, log
from app.identity.origins import Origins

_ID_FORM = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ELSEWHERE = {"NOT_FOUND": "There is nothing at this path. GraphQL is served at /graphql."}
_STOPPED = "The server stops. Retry the same request with the same key: it may have happened."
_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "PAYLOAD_TOO_LARGE"}

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
# Answers are data; a page brings a policy of its own.
_DATA_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
# An answer may be kept for others only if they come from the same origin.
_VARY = (b"vary", b"Origin")
# Said while the process stops: the next request on this connection would find nobody.
_LAST = (b"connection", b"close")
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")


def error_response(code: str, status: int | None = None, message: str | None = None) -> Response:
    """Return an error of the catalogue as JSON."""
    entry = CATALOGUE[code]
    extensions = {"code": code, "requestId": REQUEST_ID.get()}
    return Response(
        orjson.dumps(
            {
                "errors": [
                    {
                        "message": message or f"{entry.message} {entry.advice}",
                        "extensions": extensions,
                    }
                ]
            }
        ),
        status_code=status or entry.status,
        media_type="application/json",
    )


class RequestContext:
    """Gives each request its id, inwards and outwards, and writes one log line for it."""

    def __init__(self, app: ASGIApp, *, drain: Drain, https_only: bool = False) -> None:
        self._app = app
        self._drain = drain
        self._headers = (*SECURITY_HEADERS, _HTTPS_ONLY) if https_only else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = _incoming_id(scope) or str(uuid4())
        token = REQUEST_ID.set(request_id)
        started = time.perf_counter()
        status = 101 if kind == "websocket" else 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                names = [name for name, _ in headers]
                if _DATA_POLICY[0] not in names:
                    headers.append(_DATA_POLICY)
                if _VARY[0] not in names:
                    headers.append(_VARY)
                headers += self._headers
                if self._drain.is_begun:
                    headers.append(_LAST)
                message["headers"] = headers
            await send(message)

        try:
            # What a socket sends has no headers: it need not pass here a thousand times.
            await self._app(scope, receive, send_with_id if kind == "http" else send)
        finally:
            path = scope["path"] if scope["path"] in _COUNTED else "other"
            _counter(path, status).inc()
            log.info(
                "http.request",
                method=scope.get("method", "WEBSOCKET"),
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
            REQUEST_ID.reset(token)


@lru_cache(maxsize=256)
def _counter(path: str, status: int) -> Counter:
    return REQUESTS.labels(path, str(status))


# Paths that are labels of a metric; whatever else is asked for cannot grow it.
_COUNTED = frozenset({"/graphql", "/health", "/health/ready", "/health/live", "/metrics"})


class CrossOrigin(CORSMiddleware):
    """Lets pages of other origins read answers; who is allowed changes while it serves."""

    def __init__(self, app: ASGIApp, origins: Origins, **options: Any) -> None:
        super().__init__(app, allow_origins=["*"] if origins.are_all else [], **options)
        self._origins = origins

    def is_allowed_origin(self, origin: str) -> bool:
        """Say whether a page may read answers."""
        return self._origins.allow(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket; who is no page is not asked where it comes from."""
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Beside:
    """Serves one path by an application of its own, beside the framework and not through it.

    A slash too many leads to the right path, as the framework does it for its own. `is_deep`: all
    that is below the path as well.
    """

    def __init__(
        self, app: ASGIApp, *, path: str, application: ASGIApp, is_deep: bool = False
    ) -> None:
        self._app = app
        self._path = path
        self._application = application
        self._below = f"{path}/" if is_deep else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(self._path):
            await self._app(scope, receive, send)
        elif scope["path"] == self._path or (
            self._below is not None
            and scope["type"] == "http"
            and scope["path"].startswith(self._below)
        ):
            await self._application(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == self._path + "/":
            await RedirectResponse(URL(scope=scope).replace(path=self._path))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class CodedErrors:
    """Answers what nobody caught with a coded error; the exception goes to the log."""

    def __init__(self, app: ASGIApp, *, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch if scope["type"] == "http" else send)
        except asyncio.CancelledError:
            # Cut at the limit of a stop: what came of the request, its retry will tell.
            if not self._drain.is_begun:
                raise
            if not started and scope["type"] == "http":
                await error_response("UNAVAILABLE", message=_STOPPED)(scope, receive, send)
        except Exception as error:
            log.exception("http.failed", path=scope.get("path"), error=type(error).__name__)
            if started or scope["type"] != "http":
                raise
            await error_response("INTERNAL")(scope, receive, send)


def coded_exception_handlers() -> dict[
    int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]
]:
    """Return handlers that answer the framework's own errors with a code."""

    async def handle(_request: Request, error: HTTPException) -> Response:
        code = _BY_STATUS.get(error.status_code, "BAD_REQUEST")
        response = error_response(code, error.status_code, _ELSEWHERE.get(code))
        response.headers.update(error.headers or {})
        return response

    return {HTTPException: handle}


def _incoming_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if _ID_FORM.fullmatch(text) else None
    return None
