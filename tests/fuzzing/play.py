"""Plays one script and judges what comes back."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import assert_never

from tests.fuzzing import judge
from tests.fuzzing.judge import Wrong
from tests.fuzzing.script import (
    HalfClose,
    Hear,
    HearEnd,
    Pause,
    Read,
    ReadEnd,
    ReadStream,
    Reset,
    Script,
    Send,
    Step,
    Upgrade,
)
from tests.fuzzing.wire import Answer, BadAnswerError, CutOffError, Wire

# Longer than the server's own waits for a first message or a pong that never comes.
PATIENCE_SECONDS = 45
_CLOSE = 8
_INTERNAL_ERROR = 1011


@dataclass(slots=True)
class Heard:
    """What came of one script."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: int = 0


class Player:
    """One client: keeps a connection for the scripts that are content with one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: Wire | None = None

    async def play(self, script: Script) -> Heard:
        """Play a script; raises `Wrong` where anything is."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._play(script)
        except TimeoutError:
            self.leave()
            raise Wrong(f"no end within {PATIENCE_SECONDS} s") from None
        except (CutOffError, BadAnswerError) as error:
            self.leave()
            raise Wrong(str(error)) from error

    def leave(self) -> None:
        """Close the connection that was kept."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _play(self, script: Script) -> Heard:
        if script.fresh:
            wire = await Wire.open(self._port)
            try:
                return await _Play(wire, script).run()
            finally:
                wire.close()
        if (kept := self._kept) is not None:
            answered = kept.answered
            try:
                return await self._run_kept(script)
            except CutOffError:
                # It was closed for being idle, as may happen to any client: once more.
                if kept.answered > answered:
                    raise
                self.leave()
        self._kept = await Wire.open(self._port)
        return await self._run_kept(script)

    async def _run_kept(self, script: Script) -> Heard:
        assert self._kept is not None
        play = _Play(self._kept, script)
        try:
            heard = await play.run()
        except Wrong:
            self.leave()
            raise
        if play.ended:
            self.leave()
        return heard


class _Play:
    def __init__(self, wire: Wire, script: Script) -> None:
        self._wire = wire
        self._script = script
        self._heard = Heard()
        self.ended = False

    async def run(self) -> Heard:
        for step in self._script.steps:
            await self._step(step)
            if self.ended:
                break
        return self._heard

    async def _step(self, step: Step) -> None:
        match step:
            case Send(data):
                await self._wire.send(data)
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Read(count, bodiless):
                await self._read(count, bodiless=bodiless)
            case ReadStream(events):
                await self._stream(events)
            case ReadEnd():
                await self._read_end()
            case Upgrade():
                await self._upgrade()
            case Hear() | HearEnd():
                await self._hear(to_the_end=isinstance(step, HearEnd))
            case HalfClose():
                self._wire.half_close()
            case Reset():
                self._wire.reset()
                self.ended = True
            case _:
                assert_never(step)

    async def _read(self, count: int, *, bodiless: bool) -> None:
        asked = _ids(self._script) if count > 1 else []
        for number in range(count):
            answer = await self._wire.answer(bodiless=bodiless)
            if answer is None:
                raise CutOffError(f"no answer to request {number + 1} of {count}")
            self._judge(answer)
            if asked and answer.headers.get("x-request-id") != asked[number]:
                raise Wrong(f"answered out of order: {answer.headers}, not {asked[number]}")
            self.ended = answer.ends
            if self.ended and number + 1 < count:
                raise Wrong(f"hung up after {number + 1} of {count} requests")

    def _judge(self, answer: Answer) -> None:
        self._heard.refused += judge.judge(answer, plain=self._script.plain)
        self._heard.outcomes[str(answer.status)] += 1
        if self._script.statuses and answer.status not in self._script.statuses:
            raise Wrong(f"{answer.status} is not due here: {answer.body[:300]!r}")
        if self._script.codes and not judge.codes(answer) <= self._script.codes:
            raise Wrong(f"{judge.codes(answer)} is not due here")

    async def _read_end(self) -> None:
        """Read what comes; requests that are broken may find no answer at all."""
        try:
            while (answer := await self._wire.answer()) is not None:
                if answer.status == 101:
                    self._heard.outcomes["101"] += 1
                    await self._hear(to_the_end=True)
                    return
                self._judge(answer)
        except (BadAnswerError, CutOffError):
            if not self._script.plain:
                raise
            self._heard.outcomes["cut off"] += 1
        if not self._heard.outcomes:
            self._heard.outcomes["hung up"] += 1
        self.ended = True

    async def _stream(self, events: int | None) -> None:
        head = await self._wire.head()
        if head is None:
            raise CutOffError("no answer")
        if head.headers.get("transfer-encoding") != "chunked":
            body = await self._wire.body(head)
            self._judge(Answer(head.status, head.headers, body))
            self.ended = True
            return
        self._judge(head)
        told = 0
        while events is None or told < events:
            chunk = await self._wire.chunk()
            if not chunk:
                break
            told += 1
            self._heard.refused += judge.judge_event(chunk)
        self._heard.outcomes["events"] += told

    async def _upgrade(self) -> None:
        answer = await self._wire.answer()
        if answer is None:
            raise CutOffError("no answer to a handshake")
        if answer.status != 101:
            raise Wrong(f"a good handshake was refused: {answer.status} {answer.body!r}")
        self._heard.outcomes["101"] += 1

    async def _hear(self, *, to_the_end: bool) -> None:
        while (frame := await self._wire.frame()) is not None:
            opcode, data = frame
            if opcode == _CLOSE:
                self._closed(data)
                # A server that waits for our reply is not kept waiting.
                self.ended = True
                return
            if opcode != 1:
                continue
            message = judge.judge_message(data)
            self._heard.refused += message["type"] == "error"
            self._heard.outcomes[message["type"]] += 1
            if (
                not to_the_end
                and message.get("id") == "last"
                and message["type"] in {"complete", "error"}
            ):
                return
        self.ended = True
        if not to_the_end:
            raise CutOffError("a socket was dropped without a word")

    def _closed(self, data: bytes) -> None:
        code = int.from_bytes(data[:2], "big")
        judge.no_leak(data)
        self._heard.outcomes[f"closed {code}"] += 1
        self._heard.refused += code > 1001
        if code == _INTERNAL_ERROR:
            raise Wrong(f"a socket was closed for an internal error: {data!r}")


def _ids(script: Script) -> list[str]:
    sent = b"".join(step.data for step in script.steps if isinstance(step, Send))
    return [
        line.partition(b": ")[2].decode()
        for line in sent.split(b"\r\n")
        if line.startswith(b"X-Request-ID: ")
    ]
