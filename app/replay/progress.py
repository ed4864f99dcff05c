"""How far a replay has come: a bar on a terminal, a line now and then elsewhere."""

import asyncio
import sys
from types import TracebackType
from typing import Never, Self, TextIO

from tqdm import tqdm

_TICK_SECONDS = 0.25
_LINE_SECONDS = 10.0


class Progress:
    """Counts that others raise, shown a few times a second."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._bar: tqdm[Never] | None = None
        self.done = 0
        self.refused = 0
        self.behind = 0.0

    def __enter__(self) -> Self:
        """Draw the empty bar, on a terminal."""
        if self._stream.isatty():
            # A bar that looks after itself would start a thread.
            tqdm.monitor_interval = 0
            self._bar = tqdm(total=self._total, unit=" calls", file=self._stream, smoothing=0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state standing."""
        self._draw()
        if self._bar is not None:
            self._bar.close()

    async def show(self) -> None:
        """Draw now and then, until cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS if self._bar is not None else _LINE_SECONDS)
            self._draw()

    def _draw(self) -> None:
        told = f"refused {self.refused}, behind {self.behind * 1000:.0f} ms"
        if self._bar is not None:
            self._bar.n = self.done
            self._bar.set_postfix_str(told)
        else:
            print(f"{self.done} of {self._total} calls, {told}", file=self._stream, flush=True)
