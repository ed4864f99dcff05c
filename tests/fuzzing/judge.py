"""What every answer must be, whatever was sent."""

import json
import re
from pathlib import Path
from typing import Any

from tests.fuzzing.wire import Answer

CATALOGUE = json.loads(
    (Path(__file__).parents[2] / "frontend-contract" / "refusals.json").read_text("utf-8")
)
_JSON = {"application/json", "application/graphql-response+json"}
# Nobody sends these, so whoever answers them speaks of its own inside.
LEAKS = re.compile(
    rb"Traceback \(most|File \\?\"/|site-packages|\.py\\?\", line|asyncpg|sqlalchemy|graphql\.error"
    rb"|SQLSTATE|(?i:\b(select|insert into|update|delete from)\b[^\"]{1,200}"
    rb"\b(credits|identity|core|usage)\.|relation \\?\"|syntax error at or near"
    rb"|invalid byte sequence|violates [a-z-]+ constraint)"
)
_FAULTS = {"INTERNAL", "UNAVAILABLE", "BUSY"}


class Wrong(Exception):  # noqa: N818  # it is the finding, and no error of the fuzzer's
    """An answer that must not be."""


def judge(answer: Answer, *, plain: bool, own_ids: bool = True) -> bool:
    """Raise where an answer is wrong; return whether it refuses."""
    if answer.status >= 500:
        raise Wrong(f"a 5xx: {answer.status} {answer.body[:500]!r}")
    no_leak(answer.body)
    if answer.kind in _JSON:
        return _judge_json(answer, own_ids=own_ids)
    if answer.status >= 400 and answer.body and not plain:
        raise Wrong(f"no JSON: {answer.status} {answer.kind} {answer.body[:200]!r}")
    return answer.status >= 400


def no_leak(data: bytes) -> None:
    """Raise where the server speaks of its inside."""
    if leak := LEAKS.search(data):
        raise Wrong(f"a leak: {data[max(0, leak.start() - 100) : leak.end() + 200]!r}")


def _judge_json(answer: Answer, *, own_ids: bool) -> bool:
    if not answer.body:
        # The answer to HEAD.
        return answer.status >= 400
    body = _loaded(answer.body)
    if answer.status >= 400 and "errors" not in body:
        raise Wrong(f"a refusal without errors: {answer.status} {answer.body[:200]!r}")
    told = answer.headers.get("x-request-id") if own_ids else None
    return judge_errors(body.get("errors"), told) or answer.status >= 400


def _loaded(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError as error:
        raise Wrong(f"broken JSON: {data[:200]!r}") from error
    if not isinstance(body, dict):
        raise Wrong(f"no object: {data[:200]!r}")
    return body


def judge_errors(errors: Any, request_id: str | None = None) -> bool:
    """Raise where errors are not coded, or ours; return whether there are any."""
    if errors is None:
        return False
    if not isinstance(errors, list) or not errors:
        raise Wrong(f"errors is no list: {errors!r}")
    for error in errors:
        extensions = error.get("extensions") or {}
        code = extensions.get("code")
        if code not in CATALOGUE or not error.get("message"):
            raise Wrong(f"an error without a code of the catalogue: {error!r}")
        # A socket that carries too much is told so with the limit.
        if code in _FAULTS and not (code == "BUSY" and "limit" in extensions):
            raise Wrong(f"our fault: {error!r}")
        known = extensions.get("requestId")
        if not known or (request_id is not None and known != request_id):
            raise Wrong(f"an error without the request's id: {error!r}, not {request_id}")
    return True


def judge_message(data: bytes) -> dict[str, Any]:
    """Raise where a message of a socket is wrong; return it."""
    no_leak(data)
    message = _loaded(data)
    if message.get("type") == "error":
        judge_errors(message.get("payload"))
    elif message.get("type") == "next":
        judge_errors((message.get("payload") or {}).get("errors"))
    return message


def judge_event(data: bytes) -> bool:
    """Raise where what a stream of events told is wrong; return whether it refuses."""
    no_leak(data)
    told = re.findall(rb"^data: ?(.+)$", data, re.MULTILINE)
    # Each is judged, whatever the first one was.
    return sum(judge_errors(_loaded(line).get("errors")) for line in told if line.strip()) > 0


def codes(answer: Answer) -> set[str]:
    """Return the codes of an answer's errors."""
    errors = _loaded(answer.body).get("errors", []) if answer.kind in _JSON else []
    return {error["extensions"]["code"] for error in errors}
