"""An answer that comes piece by piece: passed on as it comes, and never further than credits go.

What a piece holds is counted before it is passed on, and must be reserved for. More is reserved
ahead, beside the stream; where there are no credits for more, the stream ends one piece early,
in order. It is charged before its last event goes out.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.core.units import show_credits
from app.inference.asked import Kind
from app.inference.lane import Failure, ProviderFailed
from app.inference.rows import Settled
from app.inference.sse import data_of
from app.inference.tokens import Counter
from app.inference.usage import Usage, usage_of
from app.inference.work import Call, Keeping, Work
from app.inference.written import finish_reason, tokens_of

_DONE: Final = b"[DONE]"
# More than that before anything is said is an answer of nothing.
_SILENT_EVENTS: Final = 64
LAST_EVENT: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """How streams hold credits.

    As much again is reserved as was written, from two margins up to a block. A stream goes on
    while there is room for `margin_tokens` more, as much as a piece has at most.
    """

    block_tokens: int = 256
    margin_tokens: int = 16

    @property
    def first_tokens(self) -> int:
        """What is reserved before anything is written."""
        return 2 * self.margin_tokens

    def more_after(self, written: int) -> int:
        """Return how many tokens to reserve for beyond those that were written."""
        return max(self.first_tokens, min(written, self.block_tokens))


class Stream:
    """One answer; `events` may be read once."""

    def __init__(
        self,
        call: Call,
        first: Sequence[bytes],
        events: AsyncGenerator[bytes, None],
        *,
        work: Work,
        counter: Counter,
        terms: StreamTerms,
        keeping: Keeping,
        wants_usage: bool,
        kind: Kind,
    ) -> None:
        self.call = call
        self.usage: Usage | None = None
        self.settled: Settled | None = None
        self._first = deque(first)
        self._events = events
        self._work = work
        self._counter = counter
        self._terms = terms
        self._keeping = keeping
        self._wants_usage = wants_usage
        self._object = "chat.completion.chunk" if kind is Kind.CHAT else "text_completion"
        self._more: asyncio.Task[bool] | None = None
        self._seen: dict[str, Any] = {}
        self._outcome = "complete"
        # Whether the usage is that of the whole answer.
        self._is_told = False
        self._is_read = False
        self._is_over = False

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Return the events for who asked, and charge for them.

        Who leaves closes it: what was written by then is charged. So it is if it is never read.
        """
        error: bytes | None = None
        self._is_read = True
        try:
            async with aclosing(self._passed_on()) as passed:
                async for event in passed:
                    yield event
        except ProviderFailed as failed:
            self._outcome = "failed"
            error = _broken_off()
            log.warning("inference.stream_failed", call=str(self.call.id), error=str(failed))
        except BaseException:
            # Whoever read has left, or was told to stop.
            self._outcome = "left"
            await self.close()
            raise
        await self.close()
        if error is not None:
            yield error
            return
        if self._outcome == "credits":
            yield self._chunk([{"index": 0, **self._nothing(), "finish_reason": "length"}])
        if self._wants_usage or self._outcome == "credits":
            yield self._chunk([], usage=self._told_usage())
        yield LAST_EVENT

    async def close(self) -> None:
        """Hang up and charge, once."""
        if self._is_over:
            return
        self._is_over = True
        if not self._is_read:
            self._outcome = "left"
        self._keeping.cancel()
        # To its end, also where who waits for it is told to stop.
        ending = self._work.start(self._end(), "end of a stream")
        await asyncio.shield(ending)

    async def _end(self) -> None:
        try:
            await self._events.aclose()
        except Exception:  # noqa: BLE001  # whatever a lane says of it: what was written is charged
            log.exception("inference.not_hung_up", call=str(self.call.id))
        if self._more is not None:
            await asyncio.wait({self._more})
        usage = self.usage = self._used()
        self.settled = await self._work.settle(self.call, usage, self._outcome, 200)

    def _used(self) -> Usage:
        """Return what is charged for: what the provider said of the whole, or an estimate."""
        written, told = self.call.written, self.usage
        if told is None:
            return Usage(self.call.prompt_tokens, 0, written, is_estimated=True)
        if self._is_told:
            return told
        # It said so underway, and has gone on since.
        return Usage(told.input, told.cached_input, max(told.output, written), is_estimated=True)

    async def _passed_on(self) -> AsyncGenerator[bytes, None]:
        while (event := await self._next()) is not None:
            data = data_of(event)
            if data == _DONE:
                self._is_told = True
                return
            chunk = _read(data)
            if chunk is None:
                # A comment that keeps the connection alive, or nothing we know.
                yield event
            else:
                if usage := usage_of(chunk.get("usage")):
                    # What is told last counts for all of it.
                    self.usage = usage
                    self._is_told = not chunk.get("choices")
                if chunk.get("choices"):
                    goes_on = await self._covers(tokens_of(chunk, self._counter))
                    if goes_on is None:
                        return
                    self._note(chunk)
                    yield event
                    if not goes_on:
                        self._outcome = "credits"
                        return
                elif "error" in chunk:
                    raise ProviderFailed(Failure.BROKEN, str(chunk["error"])[:500])
                elif self.usage is None:
                    yield event
        # Some end without saying so.
        self._is_told = True

    async def _next(self) -> bytes | None:
        return self._first.popleft() if self._first else await anext(self._events, None)

    def _note(self, chunk: dict[str, Any]) -> None:
        if not self._seen:
            self._seen = {name: chunk[name] for name in ("id", "created", "model") if name in chunk}
        if finish_reason(chunk) == "length":
            self._outcome = "length"

    # What is reserved.

    async def _covers(self, tokens: int) -> bool | None:
        """Whether a piece is reserved for, and another may follow: None if not even this one."""
        call, terms = self.call, self._terms
        total = call.written + tokens
        if total > call.output_limit + max(terms.margin_tokens, call.output_limit // 2):
            # It counts otherwise than we do, but not so much: it does not keep to its bound.
            log.warning("inference.runs_on", call=str(call.id), limit=call.output_limit)
            self._outcome = "length"
            return None
        if not call.stops or call.reserved_tokens >= call.output_limit:
            # All that it may write is reserved for.
            call.written = total
            return True
        room = call.reserved_tokens - total
        if room < terms.margin_tokens:
            if await self._reserved_more(total):
                room = call.reserved_tokens - total
            elif room < 0:
                self._outcome = "credits"
                return None
            else:
                call.written = total
                return False
        call.written = total
        more = terms.more_after(total)
        if room < max(terms.margin_tokens, more // 2) and (
            # One that found no credits is not asked again before it must be.
            self._more is None or (self._more.done() and self._more.result())
        ):
            self._more = asyncio.create_task(self._reserve(total + more), name="more")
        return True

    async def _reserved_more(self, total: int) -> bool:
        """Wait until there is room after so many tokens; False if there are no credits for it."""
        call, terms = self.call, self._terms
        needed = min(total + terms.margin_tokens, call.output_limit)
        if self._more is not None:
            await self._more
            self._more = None
            if call.reserved_tokens >= needed:
                return True
        more = terms.more_after(total)
        while more > terms.margin_tokens:
            if await self._reserve(total + more):
                return True
            more //= 4
        return await self._reserve(needed)

    async def _reserve(self, tokens: int) -> bool:
        try:
            return await self._work.reserve(self.call, tokens)
        except (Refusal, Unavailable) as error:
            # Nothing is written that is not reserved for; nor is it charged twice.
            log.warning("inference.not_extended", call=str(self.call.id), error=str(error))
            return False

    # What is said at the end.

    def _nothing(self) -> dict[str, Any]:
        return {"delta": {}} if self._object.startswith("chat") else {"text": ""}

    def _told_usage(self) -> dict[str, Any]:
        usage = self.usage
        told: dict[str, Any] = {}
        if usage is not None:
            told = {
                "prompt_tokens": usage.input,
                "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
                "prompt_tokens_details": {"cached_tokens": usage.cached_input},
            }
            if usage.is_estimated:
                told["is_estimated"] = True
        if self.settled is not None:
            told["credits_used"] = show_credits(self.settled.settled_amount)
        return told

    def _chunk(self, choices: list[Any], **more: Any) -> bytes:
        told = {
            "id": str(self.call.id),
            "created": 0,
            "model": self.call.model,
            **self._seen,
            "object": self._object,
            "choices": choices,
            **more,
        }
        return b"data: " + orjson.dumps(told) + b"\n\n"


async def first_of(events: AsyncGenerator[bytes, None]) -> list[bytes]:
    """Return the events up to the first that says something; raises `ProviderFailed`.

    Before it there may be comments, and who is about to speak.
    """
    first: list[bytes] = []
    async for event in events:
        data = data_of(event)
        chunk = None if data == _DONE else _read(data)
        if chunk is not None and "error" in chunk and not chunk.get("choices"):
            raise ProviderFailed(Failure.BROKEN, str(chunk["error"])[:500])
        first.append(event)
        if data == _DONE or _says_something(chunk) or len(first) == _SILENT_EVENTS:
            return first
    if not first:
        raise ProviderFailed(Failure.BROKEN, "said nothing")
    return first


def _says_something(chunk: dict[str, Any] | None) -> bool:
    if chunk is None:
        return False
    choices = chunk.get("choices")
    if not isinstance(choices, list) or not choices:
        return bool(chunk.get("usage"))
    for choice in choices:
        if not isinstance(choice, dict) or choice.get("finish_reason") or choice.get("text"):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and any(
            value for name, value in delta.items() if name != "role"
        ):
            return True
    return False


def _read(data: bytes | None) -> dict[str, Any] | None:
    if not data:
        return None
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise ProviderFailed(Failure.BROKEN, "sent an event that is no JSON") from None
    return chunk if isinstance(chunk, dict) else None


def _broken_off() -> bytes:
    error = {
        "message": "The provider broke off in the middle of its answer.",
        "type": "api_error",
        "param": None,
        "code": "provider_error",
    }
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"
