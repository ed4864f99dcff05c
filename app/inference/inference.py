"""`Inference`: one flow for every way in: check, reserve, ask with empty hands, charge, answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.credits import Balance
from app.inference.asked import Asked, Kind
from app.inference.calls import ModelCalls
from app.inference.lane import Answered, Failure, Lane, ProviderFailed, Question
from app.inference.providers import Protocol, Provider
from app.inference.rows import OpenRequest
from app.inference.streams import Stream, StreamTerms, first_of
from app.inference.tokens import Tokens
from app.inference.usage import Usage, usage_of
from app.inference.work import Call, Work, now
from app.inference.written import finish_reason, tokens_of

_T = TypeVar("_T")
Check = Callable[[Mapping[str, Any]], object]

# How often a call is asked in all, of whatever models.
_ATTEMPTS = 4
# Where nobody stands in, the same model is asked once more, after so long.
_PAUSE_SECONDS = 0.25
_WAIT_AT_MOST = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of calls; see the settings."""

    output_tokens: int = 4_096
    lease_seconds: int = 300
    stream: StreamTerms = field(default_factory=StreamTerms)


@dataclass(slots=True)
class _Patience:
    """Whether who asked still waits."""

    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, and what it cost: None where the charge is still to come."""

    call: Call
    body: bytes
    told: dict[str, Any]
    # What `check` made of it.
    checked: Any
    usage: Usage
    credits: int | None
    balance: Balance | None


class Inference:
    """Calls of models."""

    def __init__(
        self,
        calls: ModelCalls,
        providers: Mapping[str, Provider],
        lanes: Mapping[Protocol, Lane],
        limits: Limits | None = None,
    ) -> None:
        self.calls = calls
        self.tokens = Tokens()
        self._providers = providers
        self._lanes = lanes
        self._limits = limits or Limits()
        self._work = Work(calls, lease_seconds=self._limits.lease_seconds)

    def start(self) -> None:
        """Read the vocabulary and get ready, before the first call waits for it."""
        self._work.start(self.tokens.counter(), "vocabulary")
        for lane in self._lanes.values():
            lane.start()

    async def stop(self, seconds: float = 5.0) -> None:
        """Let what is under way be charged, and hang up."""
        await self._work.stop(seconds)
        for lane in self._lanes.values():
            await lane.close()

    async def complete(self, asked: Asked, check: Check | None = None) -> Completion:
        """Return a whole answer. Once it has begun it is charged, whoever leaves meanwhile.

        `check` raises `ProviderFailed` for an answer that is of no use: another model is asked
        then, and where none is left nothing is charged.
        """
        patience = _Patience()
        work = self._work.start(self._whole(asked, check, patience), "completion")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            patience.is_over = True
            raise

    async def stream(self, asked: Asked) -> Stream:
        """Return an answer piece by piece, once its first piece is there.

        Who leaves before that is charged as whoever leaves later: for the prompt, as far as it
        was asked.
        """
        patience = _Patience()
        work = self._work.start(self._opened(asked, patience), "stream")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            patience.is_over = True
            if work.done() and not work.cancelled() and work.exception() is None:
                # It came as its reader left.
                self._work.start(work.result().close(), "unread stream")
            raise

    # How it goes.

    async def _whole(self, asked: Asked, check: Check | None, patience: "_Patience") -> Completion:
        call = await self._begin(asked)
        await self._ask_only_if_waited_for(call, patience)
        return await self._complete(asked, call, check)

    async def _opened(self, asked: Asked, patience: "_Patience") -> Stream:
        call = await self._begin(asked)
        await self._ask_only_if_waited_for(call, patience)
        stream = await self._stream(asked, call)
        if patience.is_over:
            # Nobody will read it: what was held for it is not kept.
            await stream.close()
        return stream

    async def _ask_only_if_waited_for(self, call: Call, patience: "_Patience") -> None:
        """Give back what was reserved for somebody who left before any model was asked."""
        if patience.is_over:
            gone = ProviderFailed(Failure.BROKEN, "not asked: nobody waits for it")
            await self._work.give_back(call, gone)
            raise gone

    async def _begin(self, asked: Asked) -> Call:
        asked.check()
        began, asked_at = time.monotonic(), now()
        limits = self._limits
        wanted = asked.output_tokens
        # A stream ends where the credits do; a whole answer must be bounded beforehand.
        bound = wanted if wanted is not None or asked.is_stream else limits.output_tokens
        prompt_tokens = await self.tokens.of_prompt(asked.body)
        opened = await self.calls.open(
            asked.organization_id,
            OpenRequest(
                asked.idempotency_key,
                asked.fingerprint,
                asked.feature,
                asked.quality,
                asked.model,
                prompt_tokens,
                bound,
                asked.choices,
                limits.stream.first_tokens if asked.is_stream else None,
                limits.lease_seconds,
                asked.end_customer_ref,
                asked.related_type,
                asked.related_id,
                asked.related_name,
                asked.trace_id,
                asked.actor,
            ),
        )
        if opened.replayed:
            # One call of a provider for a key. Its answer was given, or is being given.
            raise Refusal("DUPLICATE_REQUEST", {"idempotencyKey": asked.idempotency_key})
        return Call(
            asked.organization_id,
            opened.reservation_id,
            opened.model,
            opened.provider,
            opened.provider_model_id,
            list(opened.fallbacks),
            opened.output_limit,
            opened.reserved_tokens,
            prompt_tokens,
            asked.choices,
            opened.streams_stop,
            began=began,
            asked_at=asked_at,
        )

    async def _complete(self, asked: Asked, call: Call, check: Check | None) -> Completion:
        async def ask(
            lane: Lane, provider: Provider, question: Question
        ) -> tuple[Answered, dict[str, Any], Any]:
            answered = await lane.ask(provider, question)
            told = _read(answered.body)
            return answered, told, None if check is None else check(told)

        keeping = self._work.keep(call)
        try:
            answered, told, checked = await self._ask(asked, call, ask)
        finally:
            keeping.cancel()
        usage = usage_of(told.get("usage")) or Usage(
            call.prompt_tokens, 0, tokens_of(told, await self.tokens.counter()), is_estimated=True
        )
        outcome = "length" if finish_reason(told) == "length" else "complete"
        settled = await self._work.settle(call, usage, outcome, answered.status)
        return Completion(
            call,
            answered.body,
            told,
            checked,
            usage,
            None if settled is None else settled.settled_amount,
            None if settled is None else settled.balance,
        )

    async def _stream(self, asked: Asked, call: Call) -> Stream:
        async def ask(
            lane: Lane, provider: Provider, question: Question
        ) -> tuple[list[bytes], AsyncGenerator[bytes, None]]:
            events = lane.stream(provider, question)
            try:
                # Until then another model may answer.
                return await first_of(events), events
            except BaseException:
                await events.aclose()
                raise

        keeping = self._work.keep(call)
        try:
            first, events = await self._ask(asked, call, ask)
            counter = await self.tokens.counter()
        except BaseException:
            keeping.cancel()
            raise
        return Stream(
            call,
            first,
            events,
            work=self._work,
            counter=counter,
            terms=self._limits.stream,
            keeping=keeping,
            wants_usage=asked.wants_usage,
            kind=asked.kind,
        )

    async def _ask(
        self,
        asked: Asked,
        call: Call,
        ask: Callable[[Lane, Provider, Question], Awaitable[_T]],
    ) -> _T:
        """Ask models until one answers; where none does, nothing is charged."""
        while True:
            try:
                return await self._attempt(asked, call, ask)
            except ProviderFailed as failed:
                log.warning(
                    "inference.attempt_failed",
                    call=str(call.id),
                    attempt=call.attempt,
                    model=call.model,
                    provider=call.provider,
                    failure=failed.failure.value,
                    status=failed.status,
                    said=failed.message[:200],
                )
                if not await self._goes_on(asked, call, failed):
                    await self._work.give_back(call, failed)
                    raise
            except BaseException as error:
                # A fault of ours, or told to stop: no model has answered.
                fault = ProviderFailed(Failure.BROKEN, f"not asked: {type(error).__name__}")
                await self._work.give_back(call, fault)
                raise

    async def _attempt(
        self,
        asked: Asked,
        call: Call,
        ask: Callable[[Lane, Provider, Question], Awaitable[_T]],
    ) -> _T:
        provider = self._providers.get(call.provider)
        if provider is None:
            raise ProviderFailed(Failure.NO_KEY, f"no key of {call.provider} is set")
        lane = self._lanes.get(provider.protocol)
        if lane is None:
            raise ProviderFailed(Failure.NO_KEY, f"{call.provider} cannot be spoken to")
        bound = None
        if not asked.is_stream or asked.output_tokens is not None:
            bound = max(1, call.output_limit // call.choices)
        body = asked.body_for(call.provider_model_id, bound, provider.limit_name)
        return await ask(lane, provider, Question(asked.kind.path, body))

    async def _goes_on(self, asked: Asked, call: Call, failed: ProviderFailed) -> bool:
        """Take the next model, or the same once more; False if that is no use."""
        if failed.failure is Failure.REFUSED or call.attempt >= _ATTEMPTS:
            return False
        # Vectors of another model are of another space.
        models = [] if asked.kind is Kind.EMBEDDING else [*call.fallbacks]
        if not models and call.attempt == 1 and failed.failure is not Failure.NO_KEY:
            wait = _PAUSE_SECONDS if failed.retry_after is None else failed.retry_after
            if failed.failure is Failure.TIMEOUT or wait > _WAIT_AT_MOST:
                return False
            await asyncio.sleep(wait)
            models = [call.model]
        for model in models:
            with contextlib.suppress(ValueError):
                call.fallbacks.remove(model)
            try:
                row = await self.calls.fall_back(
                    call.account_id,
                    call.id,
                    attempt=call.attempt,
                    model=model,
                    error=str(failed)[:500],
                    status_code=failed.status,
                )
            except Refusal as refusal:
                if refusal.code == "INSUFFICIENT_CREDITS":
                    # A cheaper one may stand in.
                    continue
                log.warning("inference.not_fallen_back", call=str(call.id), code=refusal.code)
                return False
            except Unavailable as error:
                log.warning("inference.not_fallen_back", call=str(call.id), error=str(error))
                return False
            call.model, call.provider = row.model, row.provider
            call.provider_model_id = row.provider_model_id
            call.attempt = row.attempt
            call.output_limit, call.reserved_tokens = row.output_limit, row.reserved_tokens
            return True
        return False


def _read(body: bytes) -> dict[str, Any]:
    """Return what an answer says."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProviderFailed(Failure.BROKEN, "sent no JSON") from None
    if not isinstance(told, dict):
        raise ProviderFailed(Failure.BROKEN, "sent no object")
    return told
