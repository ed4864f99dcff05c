"""The schedule: when calls begin and end, on a clock that stands still unless waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.replay import run as module
from app.replay.books import Account
from app.replay.client import Document, RefusedError, UnansweredError
from app.replay.plan import Options, survey
from app.replay.run import Results, _Traffic

START = module._LEAD_SECONDS


class _Clock(asyncio.SelectorEventLoop):
    """A loop whose time jumps to what is waited for next."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


Answer = Callable[["_Server", str], Awaitable[None]]


class _Server:
    """Notes when it is asked for what."""

    def __init__(self, clock: _Clock, answer: Answer | None = None) -> None:
        self.clock = clock
        self.asked: list[tuple[float, str]] = []
        self._answer = answer

    async def ask(self, document: Document, variables: dict[str, Any]) -> dict[str, Any]:
        key = str(variables["input"].get("idempotencyKey", "")).rpartition(":")[2]
        what = f"{document.field.removesuffix('Credits')} {key}".strip()
        self.asked.append((round(self.clock.now - START, 6), what))
        if self._answer is not None:
            await self._answer(self, what)
        return {"reservation": {"id": "r"}}


def _flow(
    folder: Path, calls: list[tuple[str, int]], answer: Answer | None = None, speed: float = 1
) -> tuple[Results, list[tuple[float, str]]]:
    """Replay calls of (second, generated tokens); return what was asked for, and when."""
    path = folder / "t.csv"
    rows = [f"2023-11-16 18:15:{second},1,{tokens}" for second, tokens in calls]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    options = Options(path, "", "", organizations=1, speed=speed)
    results = Results("run", options, survey(options), [Account("o", runs_out=False)])
    clock = _Clock()
    server = _Server(clock, answer)

    async def flow() -> None:
        await _Traffic(server, results).flow()  # type: ignore[arg-type]

    try:
        clock.run_until_complete(flow())
    finally:
        clock.close()
    return results, server.asked


def test_calls_begin_when_the_trace_says_and_last_as_long_as_their_tokens(tmp_path: Path) -> None:
    results, asked = _flow(tmp_path, [("00", 50), ("00.25", 10), ("03", 0)])
    assert asked == [
        (0.0, "reserve 2"),
        (0.25, "reserve 3"),
        (0.45, "settle"),
        (1.0, "settle"),
        (3.0, "reserve 4"),
        (3.0, "settle"),
    ]
    assert results.behind.milliseconds()["max"] == 0.0


def test_speed_divides_arrivals_and_durations(tmp_path: Path) -> None:
    _, asked = _flow(tmp_path, [("00", 50), ("04", 100)], speed=4)
    assert asked == [
        (0.0, "reserve 2"),
        (0.25, "settle"),
        (1.0, "reserve 3"),
        (1.5, "settle"),
    ]


def test_a_slow_server_does_not_slow_the_arrivals(tmp_path: Path) -> None:
    async def slowly(_server: _Server, _what: str) -> None:
        await asyncio.sleep(60)

    results, asked = _flow(tmp_path, [("00", 50), ("01", 50), ("02", 50)], slowly)
    assert asked == [
        (0.0, "reserve 2"),
        (1.0, "reserve 3"),
        (2.0, "reserve 4"),
        (61.0, "settle"),
        (62.0, "settle"),
        (63.0, "settle"),
    ]
    assert results.behind.milliseconds()["max"] == 0.0
    assert results.reserve.milliseconds()["max"] == 60_000.0


def test_a_delay_is_told_and_does_not_add_to_what_follows(tmp_path: Path) -> None:
    """The machine stands still for a second and a half, in the middle of a call."""

    async def stand_still(server: _Server, what: str) -> None:
        if what == "reserve 2":
            server.clock.now += 1.5

    results, asked = _flow(tmp_path, [("00", 0), ("01", 0), ("01.4", 0), ("02", 0)], stand_still)
    assert [moment for moment in asked if moment[1] != "settle"] == [
        (0.0, "reserve 2"),
        (1.5, "reserve 3"),
        (1.5, "reserve 4"),
        (2.0, "reserve 5"),
    ]
    assert results.behind.count == 4
    assert results.behind.milliseconds()["max"] == 500.0


def test_open_calls_are_bounded_and_the_wait_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OPEN_CALLS", 2)
    results, asked = _flow(tmp_path, [("00", 200), ("01", 200), ("02", 200)])
    assert asked == [
        (0.0, "reserve 2"),
        (1.0, "reserve 3"),
        (4.0, "settle"),
        (4.0, "reserve 4"),
        (5.0, "settle"),
        (8.0, "settle"),
    ]
    assert results.behind.milliseconds()["max"] == 2000.0


def test_a_refused_call_makes_no_settle_and_another_no_is_a_failure(tmp_path: Path) -> None:
    async def refuse(_server: _Server, what: str) -> None:
        if what == "reserve 3":
            raise RefusedError("INSUFFICIENT_CREDITS", "Not enough credits.")
        if what == "reserve 4":
            raise RefusedError("FORBIDDEN", "This key may not do that.")
        if what == "reserve 5":
            raise UnansweredError("reserveCredits: BUSY")

    results, asked = _flow(tmp_path, [("00", 0), ("01", 0), ("02", 0), ("03", 0)], refuse)
    assert [what for _, what in asked] == [
        "reserve 2",
        "settle",
        "reserve 3",
        "reserve 4",
        "reserve 5",
    ]
    [account] = results.accounts
    assert (account.calls, account.settled, account.refused, account.failed) == (4, 1, 1, 2)
    assert dict(results.failures) == {"FORBIDDEN": 1, "reserveCredits: BUSY": 1}
    assert account.expected == 10
    results.accounts.clear()
    assert module._judge_books(results) == [
        "1 calls failed: FORBIDDEN",
        "1 calls failed: reserveCredits: BUSY",
    ]
