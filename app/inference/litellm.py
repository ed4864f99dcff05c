"""The lane of all other providers: litellm speaks to them.

It is loaded in the background, and only where a provider needs it: it takes seconds and 190 MB.
"""

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import cache
from types import ModuleType
from typing import Any, Final
from uuid import uuid4

import httpx
import orjson

from app.inference.lane import Answered, Failure, Patience, ProviderFailed, Question, failure_of
from app.inference.providers import Provider

# What litellm translates. Nothing else is told it: it takes addresses, keys and more for itself,
# by names of its own.
_TRANSLATED: Final = frozenset({
    "audio", "best_of", "dimensions", "echo", "encoding_format", "frequency_penalty",
    "function_call", "functions", "input", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "modalities", "model", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt", "reasoning_effort", "response_format", "seed", "stop",
    "stream", "stream_options", "suffix", "temperature", "thinking", "tool_choice", "tools",
    "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip
_CALLS: Final = {
    "/chat/completions": "acompletion",
    "/completions": "atext_completion",
    "/embeddings": "aembedding",
}
# What litellm does once it has an answer, or none: priced, kept, told to whoever listens.
_NOTES: Final = (
    "pre_call", "post_call", "response_cost_calculator", "claim_async_success_log",
    "success_handler", "failure_handler", "handle_sync_success_callbacks_for_async_calls",
)  # fmt: skip
_LATER_NOTES: Final = (
    "async_success_handler", "async_failure_handler",
    "dispatch_success_handlers", "dispatch_failure_handlers",
)  # fmt: skip


class LiteLLMLane:
    """Asks through litellm; one for a process."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._loading: asyncio.Task[ModuleType] | None = None

    def start(self) -> None:
        """Load it beside whatever else goes on."""
        self._loaded()

    def _loaded(self) -> "asyncio.Task[ModuleType]":
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load), name="litellm")
        return self._loading

    async def ask(self, provider: Provider, question: Question) -> Answered:
        """Return the whole answer; raises `ProviderFailed`."""
        with _failing():
            async with asyncio.timeout(self._patience.total_seconds):
                response = await self._asked(provider, question)
        return Answered(200, orjson.dumps(_shown(response.model_dump(exclude_none=True))))

    async def stream(self, provider: Provider, question: Question) -> AsyncGenerator[bytes, None]:
        """Return the events of an answer; raises `ProviderFailed`."""
        until = asyncio.get_running_loop().time() + self._patience.total_seconds
        with _failing():
            async with asyncio.timeout_at(until):
                chunks = await self._asked(provider, question)
        async with _closing(chunks):
            while (chunk := await _next(chunks, until)) is not None:
                told = _shown(chunk.model_dump(exclude_none=True, exclude_unset=True))
                if told.get("usage"):
                    # It tells that beside a choice that says nothing.
                    told["choices"] = []
                yield b"data: " + orjson.dumps(told) + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def close(self) -> None:
        """Let go of all connections."""
        if self._loading is None:
            return
        await asyncio.wait({self._loading})
        # Where it could not be loaded each call was told so, and there is nothing to let go of.
        if self._loading.exception() is None:
            litellm = self._loading.result()
            await litellm.close_litellm_async_clients()
            # What is closed is not to be used by who comes next.
            litellm.in_memory_llm_clients_cache.flush_cache()

    async def _asked(self, provider: Provider, question: Question) -> Any:
        # Whoever leaves while it is loaded leaves it to the others.
        litellm = await asyncio.shield(self._loaded())
        name = _CALLS[question.path]
        call: Callable[..., Awaitable[Any]] = getattr(litellm, name)
        body = question.body
        for name in body.keys() - _TRANSLATED:
            raise _refused(f"{name} is nothing that {provider.name} can be told here", name)
        patience = self._patience
        return await call(
            **{**body, "model": f"{provider.name}/{body['model']}"},
            api_key=provider.key,
            api_base=provider.base_url,
            timeout=httpx.Timeout(patience.silent_seconds, connect=patience.connect_seconds),
            # It is tried again by the flow, which notes each attempt.
            num_retries=0,
            max_retries=0,
            caching=False,
            litellm_logging_obj=_log_of(litellm, name, body),
            # Tools are the caller's own: nothing is connected to for them.
            **({"_skip_mcp_handler": True} if question.path == "/chat/completions" else {}),
        )


def _load() -> ModuleType:
    # Read while it is loaded: no prices from the network, no fetch of what an image points to.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ["MAX_IMAGE_URL_DOWNLOAD_SIZE_MB"] = "0"
    import litellm  # noqa: PLC0415  # see above

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = False
    return litellm


def _log_of(litellm: ModuleType, name: str, body: Mapping[str, Any]) -> Any:
    """Return where litellm is to note a call: nothing is kept of it, nor its cost reckoned.

    Both are done here, by our own prices; by litellm they would take a quarter of its time.
    """
    noted = _silent(litellm)(
        body["model"],
        next((body[part] for part in ("messages", "prompt", "input") if part in body), None),
        bool(body.get("stream")),
        name,
        datetime.now(UTC).replace(tzinfo=None),
        id_ := str(uuid4()),
        id_,
    )
    # It reads there whether a stream is to tell its usage.
    noted.stream_options = body.get("stream_options")
    return noted


@cache
def _silent(litellm: ModuleType) -> Any:
    def nothing(*_: object, **__: object) -> None:
        return None

    async def nothing_later(*_: object, **__: object) -> None:
        return None

    silenced = dict.fromkeys(_NOTES, nothing) | dict.fromkeys(_LATER_NOTES, nothing_later)
    return type("Silent", (litellm.Logging,), silenced)


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    # What litellm believes it to cost is no charge of ours.
    if isinstance(usage := told.get("usage"), dict):
        usage.pop("cost", None)
    return told


@asynccontextmanager
async def _closing(chunks: Any) -> AsyncIterator[None]:
    """Hang up at the end, on what can be hung up on: one kind of streams holds another."""
    try:
        yield
    finally:
        held: Any = chunks if hasattr(chunks, "aclose") else chunks.completion_stream
        await held.aclose()


async def _next(chunks: Any, until: float) -> Any:
    with _failing():
        async with asyncio.timeout_at(until):
            return await anext(chunks, None)


@contextmanager
def _failing() -> Iterator[None]:
    """Tell of whatever litellm raises as of a provider that failed."""
    try:
        yield
    except Exception as error:
        raise _failure(error) from error


def _failure(error: Exception) -> ProviderFailed:
    """Return what an error of litellm's comes to; its own kinds all carry a status."""
    if isinstance(error, ProviderFailed):
        return error
    kind, status = type(error).__name__, getattr(error, "status_code", None)
    if isinstance(error, TimeoutError) or kind == "Timeout":
        return ProviderFailed(Failure.TIMEOUT, "took too long")
    if not isinstance(status, int):
        return ProviderFailed(Failure.BROKEN, f"broke off: {kind}")
    # What the provider said is beneath litellm's own reading of it.
    cause = error.__cause__ or error.__context__
    status = getattr(cause, "status_code", None) or status
    if kind == "APIConnectionError" and isinstance(cause, httpx.ConnectError):
        return ProviderFailed(Failure.UNREACHABLE, "cannot be connected to")
    message = _said(str(getattr(error, "message", error)))
    headers = getattr(error, "litellm_response_headers", None) or {}
    return failure_of(status, message, _told(message), headers.get("retry-after"))


def _refused(message: str, param: str) -> ProviderFailed:
    return failure_of(400, message, _told(message, param), None)


def _told(message: str, param: str | None = None) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return orjson.dumps({"error": error})


def _said(message: str) -> str:
    """Return what the provider itself said; else what litellm did, without its own names."""
    at = message.find("{")
    if at >= 0:
        end = message.rfind("}") + 1
        try:
            told = orjson.loads(message[at:end])
        except orjson.JSONDecodeError:
            told = None
        if isinstance(told, dict):
            error = told.get("error", told)
            if isinstance(error, dict) and isinstance(error.get("message"), str):
                return str(error["message"])
    return message.rpartition("Exception - ")[2].removeprefix("litellm.")
