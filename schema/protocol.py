"""GraphQL over HTTP, as the specification has it: what a request says, and how to refuse one."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, overload
from urllib.parse import parse_qsl

import orjson
from strawberry.http.websocket_origin import is_same_origin

from app.core.refusals import CATALOGUE, Refusal
from app.core.telemetry import REQUEST_ID
from app.identity.origins import Origins

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENTS = "text/event-stream"

_BEARER = "bearer "
_LONG = 256
_QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")
_FIELDS = (
    ("query", str),
    ("documentId", str),
    ("variables", dict),
    ("operationName", str),
    ("extensions", dict),
)
# A browser sends none of these from another site without asking first.
PREFLIGHTED = (
    "authorization",
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
)

# A key is forbidden whole for one thing only: what it may do is asked for later.
_WHY = {"FORBIDDEN": "Its project does not allow the origin of this page."}


class Headers:
    """The headers of a request, read when they are asked for."""

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._raw

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, by its name in small letters."""
        value = self._raw.get(name.encode())
        return default if value is None else value.decode("latin-1")


class RequestRefused(Exception):  # noqa: N818  # as Refusal
    """A request that never becomes an operation."""

    def __init__(self, code: str, detail: str | None = None, **headers: str) -> None:
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.facts: Mapping[str, Any] = {}
        super().__init__(code)

    @classmethod
    def of(cls, refusal: Refusal) -> "RequestRefused":
        """Return what a request is told whose key is refused."""
        refused = cls(refusal.code, _WHY.get(refusal.code))
        refused.facts = refusal.facts
        return refused

    @property
    def error(self) -> dict[str, Any]:
        """The one error of the answer."""
        entry = CATALOGUE[self.code]
        extensions: dict[str, Any] = {"code": entry.code, **self.facts}
        if (request_id := REQUEST_ID.get()) is not None:
            extensions["requestId"] = request_id
        told = " ".join(part for part in (entry.message, self.detail, entry.advice) if part)
        return {"message": told, "extensions": extensions}


class Reply(NamedTuple):
    """An answer over HTTP."""

    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def refuse(refused: RequestRefused, media_type: str = JSON) -> Reply:
    """Return the answer to a request that is refused whole."""
    headers = dict(refused.headers)
    if refused.code == "UNAUTHENTICATED":
        headers["WWW-Authenticate"] = "Bearer"
    return Reply(
        CATALOGUE[refused.code].status,
        media_type,
        orjson.dumps({"errors": [refused.error]}),
        tuple((name.lower().encode(), value.encode()) for name, value in headers.items()),
    )


def headers_of(scope: Mapping[str, Any]) -> Headers:
    """Return the headers of a request; those that are sent twice are joined."""
    raw = scope["headers"]
    found = dict(raw)
    if len(found) < len(raw):
        found = {}
        for name, value in raw:
            found[name] = found[name] + b", " + value if name in found else value
    return Headers(found)


def page_of(headers: Headers, origins: Origins) -> str | None:
    """Return the origin of the page that asks, if only a project can allow it.

    Back-ends name none; pages of this server, and those of the setting, may use any key.
    """
    origin = headers.get("origin")
    if origin is None or origins.are_named(origin) or is_same_origin(origin, headers.get("host")):
        return None
    return origin


def negotiate(accept: str) -> str:
    """Return the first media type of ours that the client accepts, by its preference."""
    if accept == JSON or not accept.strip():
        return JSON
    # Clients send few texts; what is long is read each time.
    return _negotiate(accept) if len(accept) > _LONG else _negotiated(accept)


def _negotiate(accept: str) -> str:
    ranked = sorted(
        (_quality(part) for part in accept.split(",") if part.strip()),
        key=lambda pair: -pair[1],
    )
    refused = {kind for kind, quality in ranked if quality == 0}
    for kind, _ in ranked:
        if kind in refused:
            continue
        if kind in (JSON, GRAPHQL_JSON, EVENTS):
            return kind
        if kind in ("*/*", "application/*", "text/html") and JSON not in refused:
            return JSON
        if kind in ("*/*", "application/*") and GRAPHQL_JSON not in refused:
            return GRAPHQL_JSON
    raise RequestRefused("NOT_ACCEPTABLE")


_negotiated = lru_cache(maxsize=256)(_negotiate)


def _quality(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return kind, float(parameter[2:]) if _QUALITY.fullmatch(parameter[2:]) else 0.0
    return kind, 1.0


def bearer_of(header: str | None) -> str | None:
    """Return the token of an Authorization header; none where none is sent."""
    if header is None or not header.strip():
        return None
    if not header.lower().startswith(_BEARER):
        raise RequestRefused("UNAUTHENTICATED")
    return header[len(_BEARER) :].strip()


def check_content_type(content_type: str) -> None:
    """Refuse what is not said to be JSON."""
    if content_type != JSON and content_type.partition(";")[0].strip().lower() != JSON:
        raise RequestRefused("UNSUPPORTED_MEDIA_TYPE")


def check_preflight(headers: Headers) -> None:
    """Refuse a GET that a page of another site could have sent in a person's name."""
    if not any(name in headers for name in PREFLIGHTED):
        raise RequestRefused(
            "BAD_REQUEST",
            "A query by GET needs a header that a page of another site cannot send unasked,"
            " such as `GraphQL-Require-Preflight: 1`.",
        )


def read_body(body: bytes) -> dict[str, Any]:
    """Return the request that a body says."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused("BAD_REQUEST", "The body is not JSON.") from error
    return check_request(data)


def read_query_string(query_string: bytes) -> dict[str, Any]:
    """Return the request that a URL says."""
    data: dict[str, Any] = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True))
    for name in ("variables", "extensions"):
        if name in data:
            try:
                data[name] = orjson.loads(data[name])
            except orjson.JSONDecodeError as error:
                raise RequestRefused("BAD_REQUEST", f"`{name}` is not JSON.") from error
    return check_request(data)


def check_request(data: object) -> dict[str, Any]:
    """Return a request whose parts have their types; a socket's message has one as well."""
    if not isinstance(data, dict):
        raise RequestRefused("BAD_REQUEST", "It is not an object.")
    for name, kind in _FIELDS:
        value = data.get(name)
        if value is not None and not isinstance(value, kind):
            raise RequestRefused("BAD_REQUEST", f"`{name}` has the wrong type.")
    return data
