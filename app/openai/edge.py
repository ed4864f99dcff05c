"""The routes of `/v1`: thin ASGI, over the same flow as GraphQL."""

import asyncio
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.core.database import Unavailable
from app.core.drain import Drain
from app.core.refusals import Refusal, invalid
from app.core.telemetry import REQUEST_ID, log
from app.core.units import show_credits
from app.credits import Actor
from app.identity.rights import Operation
from app.identity.viewer import Viewer
from app.inference import Inference
from app.inference.asked import Asked, Kind
from app.inference.inference import Completion
from app.inference.lane import ProviderFailed
from app.inference.streams import Stream
from app.openai import shapes
from app.openai.models import model_told, models_told
from schema.bodies import Bodies
from schema.context import Services
from schema.events import abort_of
from schema.protocol import Headers, RequestRefused, bearer_of, headers_of, page_of

PREFIX: Final = "/v1"
_SEND_SECONDS: Final = 60.0
_KINDS: Final = {
    "/chat/completions": Kind.CHAT,
    "/completions": Kind.COMPLETION,
    "/embeddings": Kind.EMBEDDING,
}
_EVENTS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
# Whose organization a project key asks for: the client's own setting, or ours.
_ORGANIZATION: Final = ("openai-organization", "x-exchequer-organization")
_LONGEST_NAME: Final = 255
# A body with fewer brackets can be written as it was read.
_NESTED_AT_LEAST: Final = 200
# Headers that a page may send with a request: ours, and what the official client adds.
ASKED_BY_CLIENTS: Final = (
    "idempotency-key",
    *_ORGANIZATION,
    "openai-project",
    "x-exchequer-feature",
    "x-exchequer-quality",
    "x-exchequer-customer",
    "x-exchequer-related-type",
    "x-exchequer-related-id",
    *(
        f"x-stainless-{name}"
        for name in (
            *("arch", "async", "custom-poll-interval", "helper-method", "lang", "os"),
            *("package-version", "poll-helper", "retry-count", "runtime", "runtime-version"),
            *("timeout",),
        )
    ),
)
# Headers of an answer that a page may read.
TOLD_TO_CLIENTS: Final = (
    "retry-after",
    "x-exchequer-call",
    "x-exchequer-credits",
    "x-exchequer-spendable",
)


class OpenAIEdge:
    """Serves `/v1`; an ASGI application, mounted there."""

    def __init__(
        self,
        inference: Inference,
        services: Services,
        drain: Drain,
        *,
        body_bytes: int,
        body_seconds: float,
    ) -> None:
        self._inference = inference
        self._services = services
        self._drain = drain
        self._bodies = Bodies(body_bytes, body_seconds, patience=2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_begun = False

        async def told(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._serve(scope, receive, told)
        except RequestRefused as refused:
            await _send(shapes.malformed(refused), send)
        except Refusal as refusal:
            await _send(shapes.refused(refusal), send)
        except ProviderFailed as failed:
            await _send(shapes.failed(failed), send)
        except Unavailable:
            await _send(shapes.refused(Refusal("UNAVAILABLE")), send)
        except Exception:
            if is_begun:
                raise
            log.exception("openai.failed")
            await _send(shapes.refused(Refusal("INTERNAL")), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        path = scope["path"].removeprefix(PREFIX).rstrip("/")
        kind = _KINDS.get(path)
        if kind is None and path != "/models" and not path.startswith("/models/"):
            answer = shapes.error(404, f"Unknown request URL: {scope['path']}.", "unknown_url")
            await _send(answer, send)
            return
        if scope["method"] != ("POST" if kind else "GET"):
            raise RequestRefused("METHOD_NOT_ALLOWED", Allow="POST" if kind else "GET")
        viewer = await self._viewer(headers)
        if kind is None:
            await _send(await self._models(path, viewer), send)
            return
        organization_id = _organization(viewer, headers)
        await self._services.identity.authorize(viewer, Operation.CALL_MODELS, organization_id)
        body = _object(await self._bodies.read(headers, receive))
        asked = _asked(kind, body, viewer, organization_id, headers)
        if asked.is_stream:
            await self._stream(asked, scope, receive, send)
            return
        await _send(_completed(await self._inference.complete(asked)), send)

    async def _viewer(self, headers: Headers) -> Viewer:
        viewer = await self._services.identity.viewer(bearer_of(headers.get("authorization")))
        page = page_of(headers, self._services.origins)
        if page is not None:
            self._services.origins.check(viewer, page)
        return viewer

    async def _models(self, path: str, viewer: Viewer) -> shapes.Answer:
        if viewer.project_id is None:
            raise Refusal("FORBIDDEN" if viewer.id else "UNAUTHENTICATED", {"operation": "models"})
        catalog = await self._services.catalog.snapshot(viewer.project_id)
        if path == "/models":
            return 200, {}, models_told(catalog)
        told = model_told(catalog, path.removeprefix("/models/"))
        if told is None:
            return shapes.error(404, "The model does not exist.", "model_not_found", "model")
        return 200, {}, told

    # Streams.

    async def _stream(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        stream = await self._inference.stream(asked)
        sending = asyncio.create_task(self._send_all(stream, scope, send), name="stream")
        leaving = asyncio.create_task(_left(receive), name="stream-leaving")
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            # Also where nothing of it was read.
            await stream.close()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send_all(self, stream: Stream, scope: Scope, send: Send) -> None:
        async def put(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(_SEND_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        headers = [*_EVENTS, (b"x-exchequer-call", str(stream.call.id).encode())]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with aclosing(stream.events()) as events:
                async for event in events:
                    await put(event)
            await put(b"", more=False)
        except TimeoutError:
            log.warning("stream.not_read", call=str(stream.call.id))
            if (abort := abort_of(scope)) is not None:
                abort()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _asked(
    kind: Kind,
    body: dict[str, Any],
    viewer: Viewer,
    organization_id: UUID,
    headers: Headers,
) -> Asked:
    """Return what a request asks for. What OpenAI has no field for comes in headers."""
    return Asked(
        organization_id,
        kind,
        body,
        _name(headers, "idempotency-key") or str(uuid4()),
        _name(headers, "x-exchequer-feature") or kind.feature,
        _name(headers, "x-exchequer-quality"),
        Actor(viewer.kind.value, viewer.id, viewer.label),
        _name(headers, "x-exchequer-customer"),
        _name(headers, "x-exchequer-related-type"),
        _name(headers, "x-exchequer-related-id"),
        None,
        REQUEST_ID.get(),
    )


def _organization(viewer: Viewer, headers: Headers) -> UUID:
    if viewer.organization_id is not None:
        return viewer.organization_id
    for name in _ORGANIZATION:
        if (told := headers.get(name)) is not None:
            try:
                return UUID(told)
            except ValueError:
                break
    raise invalid("OpenAI-Organization", "must be the id of an organization, as a header")


def _name(headers: Headers, name: str) -> str | None:
    told = headers.get(name)
    if told is not None and not 0 < len(told) <= _LONGEST_NAME:
        raise invalid(name, f"must have 1 to {_LONGEST_NAME} characters")
    return told


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused("BAD_REQUEST", f"The body is no JSON: {error}.") from None
    if not isinstance(told, dict):
        raise RequestRefused("BAD_REQUEST", "The body must be a JSON object.")
    if body.count(b"[") + body.count(b"{") > _NESTED_AT_LEAST:
        # What is read may be deeper than what can be written, and it is to be passed on.
        try:
            orjson.dumps([told])
        except orjson.JSONEncodeError:
            raise RequestRefused("BAD_REQUEST", "The body is nested too deeply.") from None
    return told


def _completed(completion: Completion) -> shapes.Answer:
    headers = {"X-Exchequer-Call": str(completion.call.id)}
    body = completion.body
    if completion.credits is not None:
        credits = show_credits(completion.credits)
        headers["X-Exchequer-Credits"] = credits
        body = _with_credits(completion, credits)
    if completion.balance is not None:
        headers["X-Exchequer-Spendable"] = show_credits(completion.balance.spendable)
    return 200, headers, body


def _with_credits(completion: Completion, credits: str) -> bytes:
    usage = completion.told.get("usage")
    known = usage if isinstance(usage, dict) else _usage(completion)
    try:
        return orjson.dumps({**completion.told, "usage": {**known, "credits_used": credits}})
    except orjson.JSONEncodeError:
        # What we cannot write goes out as it came.
        return completion.body


def _usage(completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "is_estimated": True,
    }


async def _send(answer: shapes.Answer, send: Send) -> None:
    status, headers, body = answer
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    told += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
