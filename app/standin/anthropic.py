"""The same stand-in, as a provider that speaks Anthropic's protocol: messages, whole and in pieces.

What OpenAI's side takes from `user`, this one takes from `metadata.user_id`.
"""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from app.standin.said import Answers, Said, hang_up
from app.standin.script import Script, most_of

_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


@dataclass
class Messages:
    """Answers `/v1/messages`."""

    answers: Answers
    key: str
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.answers.requests += 1
        if request.headers.get("x-api-key") != self.key:
            return _error(401, "invalid x-api-key")
        body = _read(await request.read())
        if body is None:
            return _error(400, "the body must be an object with model, max_tokens and messages")
        if unknown := sorted(body.keys() - _FIELDS):
            return _error(400, f"{unknown[0]}: Extra inputs are not permitted")
        script = Script.of(body)
        if script.after:
            await asyncio.sleep(script.after)
        name = str(body.get("metadata", {}).get("user_id", ""))
        failed = self.answers.failing(name, body["model"], script)
        if failed is not None:
            headers = {} if script.retry is None else {"retry-after": f"{script.retry:g}"}
            return _error(failed, f"told to answer {failed}", headers)
        asked = [body.get("system"), body["messages"]]
        said = self.answers.note(name, body["model"], asked, script.cached)
        if body.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            # Who has heard enough hangs up.
            with contextlib.suppress(ConnectionResetError):
                await self._stream(request, response, body, script, said)
            return response
        words = script.words(most_of(body))
        said.written, said.is_whole = len(words), True
        told = {
            **self._head(body),
            "content": [_content(body, "".join(words))],
            "stop_reason": _reason(body, script),
            "usage": _usage(script, said),
        }
        return web.json_response(told)

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        body: dict[str, Any],
        script: Script,
        said: Said,
    ) -> None:
        await response.prepare(request)

        async def say(name: str, **told: Any) -> None:
            data = orjson.dumps({"type": name, **told})
            await response.write(b"event: %s\ndata: %s\n\n" % (name.encode(), data))

        words = script.words(most_of(body))
        # It never goes down: where nothing is written, nothing is told of at first.
        begun = {**_usage(script, said), "output_tokens": min(1, len(words))}
        await say("message_start", message={**self._head(body), "content": [], "usage": begun})
        is_tool = bool(body.get("tools"))
        whole = _content(body, "")
        block = {**whole, "input": {}} if is_tool else whole
        await say("content_block_start", index=0, content_block=block)
        pieces = [words[at : at + script.chunk] for at in range(0, len(words), script.chunk)]
        if is_tool:
            pieces = [words]
        for number, piece in enumerate(pieces):
            if script.cut == number:
                hang_up(request)
                return
            said.written += len(piece)
            text = "".join(piece)
            delta = {"type": "text_delta", "text": text}
            if is_tool:
                arguments = orjson.dumps({"say": text}).decode()
                delta = {"type": "input_json_delta", "partial_json": arguments}
            await say("content_block_delta", index=0, delta=delta)
            if script.pause:
                await asyncio.sleep(script.pause)
        await say("content_block_stop", index=0)
        stopped = {"stop_reason": _reason(body, script), "stop_sequence": None}
        await say("message_delta", delta=stopped, usage=_usage(script, said))
        await say("message_stop")
        said.is_whole = True

    def _head(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"msg_standin_{next(self._numbers)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_reason": None,
            "stop_sequence": None,
        }


# The real one takes no others.
_FIELDS: Final = {
    "model",
    "messages",
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
}


def _read(written: bytes) -> dict[str, Any] | None:
    try:
        body = orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
    fits = (
        isinstance(body, dict)
        and isinstance(body.get("model"), str)
        and isinstance(body.get("max_tokens"), int)
        and isinstance(body.get("messages"), list)
    )
    return body if fits else None


def _content(body: dict[str, Any], text: str) -> dict[str, Any]:
    tools = body.get("tools")
    if not tools:
        return {"type": "text", "text": text}
    return {"type": "tool_use", "id": "toolu_1", "name": tools[0]["name"], "input": {"say": text}}


def _reason(body: dict[str, Any], script: Script) -> str:
    if script.tokens > body["max_tokens"]:
        return "max_tokens"
    return "tool_use" if body.get("tools") else "end_turn"


def _usage(script: Script, said: Said) -> dict[str, int]:
    written = 10**12 if script.usage == "absurd" else said.written
    return {
        # Without what was read from a cache.
        "input_tokens": said.read - said.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": said.cached,
        "output_tokens": written,
    }


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kind = _ERRORS.get(status, "api_error")
    told = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(told, status=status, headers=headers)
