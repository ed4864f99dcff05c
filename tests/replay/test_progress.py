"""What is shown while a replay runs."""

import asyncio
import io

import pytest

from app.replay import progress as module
from app.replay.progress import Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def _shown(stream: io.StringIO) -> str:
    progress = Progress(4, stream)
    with progress:
        task = asyncio.create_task(progress.show())
        progress.done, progress.refused, progress.behind = 2, 1, 0.25
        drawn = len(stream.getvalue())
        async with asyncio.timeout(10):
            while len(stream.getvalue()) == drawn:
                await asyncio.sleep(0.001)
        progress.done, progress.behind = 4, 0.0
        task.cancel()
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.01)


async def test_a_terminal_shows_a_bar() -> None:
    shown = await _shown(_Terminal())
    assert "2/4" in shown
    assert "refused 1, behind 250 ms" in shown
    assert shown.rstrip().endswith("refused 1, behind 0 ms]")
    assert "4/4" in shown.rpartition("\r")[2]


async def test_elsewhere_there_are_lines() -> None:
    shown = await _shown(io.StringIO())
    assert shown.splitlines()[0] == "2 of 4 calls, refused 1, behind 250 ms"
    assert shown.splitlines()[-1] == "4 of 4 calls, refused 1, behind 0 ms"
    assert "\r" not in shown
