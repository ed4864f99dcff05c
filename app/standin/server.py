"""The stand-in's server: chat, completions, embeddings, whole and in pieces; and messages."""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from app.standin.anthropic import Messages
from app.standin.said import Answers, Said, hang_up
from app.standin.script import Script, most_of


@dataclass
class StandIn:
    """Serves on loopback. `said` keeps the last answers, by what `user` the request named."""

    key: str = "stand-in"
    host: str = "127.0.0.1"
    port: int = 0
    answers: Answers = field(default_factory=Answers)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _runner: web.AppRunner | None = None

    @property
    def said(self) -> dict[str, Said]:
        """The last answers, by what `user` the request named."""
        return self.answers.said

    @property
    def requests(self) -> int:
        """How many came, answered or not."""
        return self.answers.requests

    @property
    def origin(self) -> str:
        """Where it serves."""
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """Where OpenAI's protocol begins."""
        return f"{self.origin}/v1"

    async def start(self) -> None:
        """Serve."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._text)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/messages", Messages(self.answers, self.key).answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, is_chat=True)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, is_chat=False)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        said = self._note(body, 0)
        said.is_whole = True
        return web.json_response(
            {
                "object": "list",
                "model": body["model"],
                "data": [
                    {"object": "embedding", "index": at, "embedding": [0.25, -0.5, 1.0]}
                    for at in range(len(inputs))
                ],
                "usage": {"prompt_tokens": said.read, "total_tokens": said.read},
            }
        )

    async def _answer(self, request: web.Request, *, is_chat: bool) -> web.StreamResponse:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        script = Script.of(body)
        if script.after:
            await asyncio.sleep(script.after)
        failed = self._failure(body, script)
        if failed is not None:
            return failed
        said = self._note(body, script.cached)
        if body.get("stream"):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            # Who has heard enough hangs up.
            with contextlib.suppress(ConnectionResetError):
                await self._stream(request, response, body, script, said, is_chat=is_chat)
            return response
        choices = []
        for at in range(int(body.get("n", 1))):
            text = script.formed(_form(body), most_of(body)) or "".join(script.words(most_of(body)))
            said.written += len(script.words(most_of(body)))
            content = {"message": _message(body, text)} if is_chat else {"text": text}
            choices.append({"index": at, **content, "finish_reason": _reason(body, script)})
        told: dict[str, Any] = {
            "id": f"standin-{next(self._numbers)}",
            "object": "chat.completion" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": choices,
        }
        if (usage := _usage(script, said)) is not None:
            told["usage"] = usage
        said.is_whole = True
        written = orjson.dumps(told)
        if script.cut is not None:
            response = web.StreamResponse(headers={"Content-Length": str(len(written))})
            await response.prepare(request)
            await response.write(written[: len(written) // 2])
            hang_up(request)
            return response
        return web.Response(body=written, content_type="application/json")

    async def _stream(
        self,
        request: web.Request,
        response: web.StreamResponse,
        body: dict[str, Any],
        script: Script,
        said: Said,
        *,
        is_chat: bool,
    ) -> None:
        await response.prepare(request)
        head = {
            "id": f"standin-{next(self._numbers)}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": body["model"],
        }

        async def say(**told: Any) -> None:
            await response.write(b"data: " + orjson.dumps({**head, **told}) + b"\n\n")

        def choice(text: str, reason: str | None = None) -> list[dict[str, Any]]:
            content = {"delta": {"content": text} if text else {}} if is_chat else {"text": text}
            return [{"index": 0, **content, "finish_reason": reason}]

        for event in script.beginning:
            await response.write(event)
        words = script.words(most_of(body))
        pieces = [words[at : at + script.chunk] for at in range(0, len(words), script.chunk)]
        wants_usage = (body.get("stream_options") or {}).get("include_usage") is True
        for number, piece in enumerate(pieces):
            if script.cut == number:
                hang_up(request)
                return
            # Before it is heard: what is on its way has been written.
            said.written += len(piece)
            more = {}
            if script.usage == "growing":
                more["usage"] = _told(said.read, said.written)
            await say(choices=choice("".join(piece)), **more)
            if script.pause:
                await asyncio.sleep(script.pause)
        await say(choices=choice("", _reason(body, script)))
        usage = _usage(script, said)
        if wants_usage and usage is not None:
            for _ in range(2 if script.usage == "twice" else 1):
                await say(choices=[], usage=usage)
        await response.write(b"data: [DONE]\n\n")
        said.is_whole = True

    async def _body(self, request: web.Request) -> dict[str, Any] | web.Response:
        self.answers.requests += 1
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(401, "Incorrect API key provided", "invalid_api_key")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _error(400, "not JSON", None)
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            return _error(400, "you must provide a model parameter", None)
        if body.get("temperature") == "hot":
            return _error(400, "'temperature' must be a number", "invalid_type")
        return body

    def _failure(self, body: dict[str, Any], script: Script) -> web.Response | None:
        status = self.answers.failing(_name(body), body["model"], script)
        if status is None:
            return None
        headers = {} if script.retry is None else {"Retry-After": f"{script.retry:g}"}
        return _error(status, f"told to answer {status}", None, headers)

    def _note(self, body: dict[str, Any], cached: int) -> Said:
        asked = body.get("messages", body.get("prompt", body.get("input", "")))
        return self.answers.note(_name(body), body["model"], asked, cached)


def _form(body: dict[str, Any]) -> dict[str, Any] | None:
    asked = body.get("response_format")
    if not isinstance(asked, dict) or asked.get("type") != "json_schema":
        return None
    form: dict[str, Any] = asked["json_schema"]["schema"]
    return form


def _name(body: dict[str, Any]) -> str:
    return str(body.get("user", ""))


def _message(body: dict[str, Any], text: str) -> dict[str, Any]:
    tools = body.get("tools")
    if not tools:
        return {"role": "assistant", "content": text}
    function = {
        "name": tools[0]["function"]["name"],
        "arguments": orjson.dumps({"say": text}).decode(),
    }
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _reason(body: dict[str, Any], script: Script) -> str:
    most = most_of(body)
    if most is not None and script.tokens > most:
        return "length"
    return "tool_calls" if body.get("tools") else "stop"


def _usage(script: Script, said: Said) -> dict[str, Any] | None:
    match script.usage:
        case "none":
            return None
        case "zero":
            return _told(0, 0)
        case "absurd":
            return _told(said.read, 10**12)
        case "negative":
            return _told(said.read, -5)
        case _:
            return _told(said.read, said.written, said.cached)


def _told(read: int, written: int, cached: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _error(
    status: int, message: str, code: str | None, headers: dict[str, str] | None = None
) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)
