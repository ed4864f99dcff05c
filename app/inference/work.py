"""A call that is under way: its lease, and the charge at its end, whatever becomes of who asked."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from app.core.database import Unavailable
from app.core.refusals import Refusal
from app.core.telemetry import log
from app.inference.calls import ModelCalls
from app.inference.lane import ProviderFailed
from app.inference.rows import CloseRequest, ExtendRequest, GiveBackRequest, Released, Settled
from app.inference.usage import Usage

_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# What may go another way in a moment. All else is as it is.
_PASSING: Final = frozenset({"BUSY"})
# What no amount of trying will charge: it is held for a person to decide.
IMPLAUSIBLE: Final = frozenset({"SETTLE_AMOUNT_IMPLAUSIBLE", "BALANCE_LIMIT"})
# As long as a reservation may be kept at once.
_HELD_SECONDS: Final = 86_000


@dataclass(slots=True)
class Call:
    """A call that Postgres let begin, as it stands by now."""

    account_id: UUID
    id: UUID
    model: str
    provider: str
    provider_model_id: str
    fallbacks: list[str]
    output_limit: int
    reserved_tokens: int
    prompt_tokens: int
    choices: int
    # Whether a stream ends where the credits do, or runs on and leaves a debt.
    stops: bool = True
    attempt: int = 1
    written: int = 0
    began: float = 0.0
    asked_at: datetime | None = None

    @property
    def milliseconds(self) -> int:
        """How long it has taken."""
        return round((time.monotonic() - self.began) * 1000)


class Work:
    """What must be done about calls even if nobody waits for it any more."""

    def __init__(self, calls: ModelCalls, *, lease_seconds: int) -> None:
        self._calls = calls
        self.lease_seconds = lease_seconds
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Do something that is done to its end, whoever leaves."""
        task = asyncio.create_task(work, name=name, context=contextvars.copy_context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self, seconds: float) -> None:
        """Wait for what is being done; what is not done by then, the worker will find."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                log.warning("inference.left_undone", calls=len(late))
                await asyncio.wait(late, timeout=seconds)

    # While it goes on.

    def keep(self, call: Call) -> "Keeping":
        """Say from time to time that somebody is at work on it, until it is cancelled."""
        return Keeping(self, call)

    async def hold(self, call: Call) -> None:
        """Say once that somebody is at work on it."""
        try:
            await self._calls.extend(
                call.account_id, ExtendRequest(call.id, None, call.written, self.lease_seconds)
            )
        except (Refusal, Unavailable) as error:
            # The reservation may expire: it is charged all the same.
            log.warning("inference.not_kept", call=str(call.id), error=str(error))

    async def reserve(self, call: Call, tokens: int) -> bool:
        """Reserve for so many written tokens in all; False if there are no credits for that."""
        tokens = min(tokens, call.output_limit)
        try:
            await self._calls.extend(
                call.account_id, ExtendRequest(call.id, tokens, call.written, self.lease_seconds)
            )
        except Refusal as refusal:
            if refusal.code != "INSUFFICIENT_CREDITS":
                raise
            return False
        call.reserved_tokens = max(call.reserved_tokens, tokens)
        return True

    # At the end.

    async def give_back(self, call: Call, failed: ProviderFailed) -> Released | None:
        """Charge nothing: no model answered."""
        request = GiveBackRequest(call.id, str(failed)[:500], failed.status, call.milliseconds)
        for pause in (*_PAUSES[:3], None):
            try:
                return await self._calls.give_back(call.account_id, request)
            except (Refusal, Unavailable) as error:
                if not _is_passing(error):
                    log.exception("inference.not_given_back", call=str(call.id))
                    return None
            if pause is not None:
                await asyncio.sleep(pause)
        log.warning("inference.given_back_later", call=str(call.id))
        self.start(self._give_back_later(call, request), "give back later")
        return None

    async def _give_back_later(self, call: Call, request: GiveBackRequest) -> None:
        """Try until nothing is charged: an outage of ours is not to be paid by who asked."""

        async def give_back() -> None:
            await self._calls.give_back(call.account_id, request)

        if not await self._insist(call, give_back, _PAUSES[3:], "inference.not_given_back"):
            # It expires, and the worker finds it: a prompt that was perhaps read is charged then.
            log.error("inference.not_given_back", call=str(call.id))

    async def settle(
        self, call: Call, usage: Usage, outcome: str, status: int | None = None
    ) -> Settled | None:
        """Charge what was used; None if that has to wait: then it is done beside."""
        request = CloseRequest(
            call.id,
            usage.input,
            usage.cached_input,
            usage.output,
            usage.is_estimated,
            outcome,
            status,
            call.milliseconds,
            call.asked_at,
        )
        try:
            return await self._calls.close(call.account_id, request)
        except (Refusal, Unavailable) as error:
            if not _is_passing(error):
                if isinstance(error, Refusal) and error.code in IMPLAUSIBLE:
                    await self._hold_back(call, request, error)
                else:
                    # Charged already, by who took it for abandoned: it is kept as it is.
                    log.exception("inference.not_charged", call=str(call.id))
                return None
            log.warning("inference.charged_later", call=str(call.id), error=str(error))
        self.start(self._settle_later(call, request), "charge later")
        return None

    async def _hold_back(self, call: Call, request: CloseRequest, refused: Refusal) -> None:
        """Keep what was told and what is reserved: the prompt alone must not be charged instead."""
        try:
            await self._calls.note_answer(call.account_id, request)
        except (Refusal, Unavailable):
            log.exception("inference.not_noted", call=str(call.id))
        await hold_for_a_person(self._calls, call.account_id, call.id, refused)

    async def _settle_later(self, call: Call, request: CloseRequest) -> None:
        """Keep what was used in a row of its own, and try until it is charged."""
        is_noted = False

        async def settle() -> None:
            nonlocal is_noted
            if not is_noted:
                await self._calls.note_answer(call.account_id, request)
                is_noted = True
            await self._calls.close(call.account_id, request)

        if not await self._insist(call, settle, _PAUSES, "inference.not_charged"):
            log.error("inference.left_to_the_worker", call=str(call.id), is_noted=is_noted)

    async def _insist(
        self,
        call: Call,
        attempt: Callable[[], Awaitable[None]],
        pauses: Sequence[float],
        refused: str,
    ) -> bool:
        """Try for some minutes while the call is kept; False if it is still to be done."""
        keeping = self.keep(call)
        try:
            for pause in (*pauses, *[_PAUSES[-1]] * 16):
                await asyncio.sleep(pause)
                try:
                    await attempt()
                except (Refusal, Unavailable) as error:
                    if not _is_passing(error):
                        log.exception(refused, call=str(call.id))
                        return True
                else:
                    return True
            return False
        finally:
            keeping.cancel()


class Keeping:
    """A lease that is renewed: by a timer, since most calls end long before it rings."""

    def __init__(self, work: Work, call: Call) -> None:
        self._work = work
        self._call = call
        self._is_over = False
        self._timer = self._armed()

    def cancel(self) -> None:
        """Renew it no more."""
        self._is_over = True
        self._timer.cancel()

    def _armed(self) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(self._work.lease_seconds / 3, self._ring)

    def _ring(self) -> None:
        self._work.start(self._renew(), "keep")

    async def _renew(self) -> None:
        await self._work.hold(self._call)
        if not self._is_over:
            self._timer = self._armed()


async def hold_for_a_person(
    calls: ModelCalls, account_id: UUID, call_id: UUID, refused: Refusal
) -> None:
    """Charge nothing, and hold on for a day: then it is looked at again."""
    log.error("inference.implausible", call=str(call_id), facts=refused.facts)
    try:
        await calls.extend(account_id, ExtendRequest(call_id, None, 0, _HELD_SECONDS))
    except (Refusal, Unavailable) as error:
        # Its reservation has expired: the finding stands, and nobody is charged.
        log.warning("inference.not_kept", call=str(call_id), error=str(error))


def _is_passing(error: Refusal | Unavailable) -> bool:
    return isinstance(error, Unavailable) or error.code in _PASSING


def now() -> datetime:
    """Return the time, as the ledger tells it."""
    return datetime.now(UTC)
