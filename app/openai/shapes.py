"""Refusals and failures as clients of OpenAI's protocol read them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from app.core.refusals import CATALOGUE, Refusal
from app.core.units import show_credits
from app.inference.lane import Failure, ProviderFailed
from schema.protocol import RequestRefused

Answer = tuple[int, dict[str, str], bytes]

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES: Final = {
    "UNAUTHENTICATED": "invalid_api_key",
    "INSUFFICIENT_CREDITS": "insufficient_credits",
    "RATE_LIMITED": "rate_limit_exceeded",
    "VALIDATION_ERROR": "invalid_value",
}
# No model of that name for this customer: as if there were none.
_NO_MODEL: Final = "model_not_allowed"
_STATUSES: Final = {
    Failure.UNREACHABLE: 502,
    Failure.BROKEN: 502,
    Failure.TIMEOUT: 504,
    Failure.OVERLOADED: 503,
    Failure.NO_KEY: 503,
}


def refused(refusal: Refusal) -> Answer:
    """Return what a refusal looks like."""
    code = refusal.code
    facts = refusal.facts or {}
    entry = CATALOGUE[code]
    status, headers = entry.status, {}
    message, param = f"{entry.message} {entry.advice}", None
    told = _CODES.get(code, code.lower())
    if code == "VALIDATION_ERROR":
        param = str(facts["field"])
        message = f"{param} {facts['reason']}."
    elif code == "FEATURE_DENIED":
        told = str(facts["reason"])
        if told == _NO_MODEL:
            status, told, param = 404, "model_not_found", "model"
            message = "The model does not exist, or the plan does not open it."
        else:
            message = f"{entry.message} Reason: {told}. {entry.advice}"
    elif code == "RATE_LIMITED":
        message = f"{entry.message} {facts['limit']}: {facts['most']}. {entry.advice}"
        headers["Retry-After"] = str(_seconds_until(facts.get("resetsAt")))
    elif code == "INSUFFICIENT_CREDITS":
        required, spendable = (show_credits(facts[name]) for name in ("required", "spendable"))
        message = f"{entry.message} Needed: {required}; there are {spendable}. {entry.advice}"
    elif code == "BUSY":
        headers["Retry-After"] = "1"
    return error(status, message, told, param, headers)


def malformed(refused: RequestRefused) -> Answer:
    """Return what a request looks like that never became a question."""
    status = CATALOGUE[refused.code].status
    code = _CODES.get(refused.code, refused.code.lower())
    return error(status, str(refused.error["message"]), code, None, refused.headers)


def failed(failure: ProviderFailed) -> Answer:
    """Return what a provider's failure looks like: its own words, where they are for who asked."""
    if failure.failure is Failure.REFUSED and failure.body is not None:
        return failure.status or 400, {}, failure.body
    status = _STATUSES[failure.failure]
    code = "PROVIDER_UNAVAILABLE" if failure.failure is Failure.NO_KEY else "PROVIDER_ERROR"
    headers = {}
    if failure.retry_after is not None:
        headers["Retry-After"] = f"{failure.retry_after:.0f}"
    entry = CATALOGUE[code]
    return error(status, f"{entry.message} {entry.advice}", code.lower(), None, headers)


def error(
    status: int,
    message: str,
    code: str | None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Return an error."""
    sent = dict(headers or {})
    if status == 401:  # noqa: PLR2004  # as RFC 9110 has it
        sent["WWW-Authenticate"] = "Bearer"
    told: dict[str, Any] = {
        "error": {
            "message": message,
            "type": _TYPES.get(status, "api_error"),
            "param": param,
            "code": code,
        }
    }
    return status, sent, orjson.dumps(told)


def _seconds_until(at: object) -> int:
    if not isinstance(at, str):
        # A limit of none opens when the plan changes; a day is a while.
        return 86_400
    left = (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()
    return max(1, int(left) + 1)
