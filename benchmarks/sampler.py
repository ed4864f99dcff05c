"""Where a process spends its CPU time: runs a module and looks again and again at what it does.

    python -m benchmarks.sampler RESULT MODULE [ARGUMENT...]

The first SIGUSR2 begins, the second ends and writes RESULT. What was used since the last look
is counted to the Python function that is running, and what C code uses to the function that
called it. A look costs a few microseconds; a tracing profiler would make small functions dear.
"""

import json
import runpy
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

# By the clock on the wall: the kernel's timers of CPU time ring a hundred times a second.
_EVERY_SECONDS = 0.001
BEGIN_OR_END = signal.SIGUSR2


class Sampler:
    """Counts the functions that are running when the timer rings."""

    def __init__(self, result: Path) -> None:
        self._result = result
        self._own: Counter[CodeType] = Counter()
        self._within: Counter[CodeType] = Counter()
        self._used = 0
        self._wakeup = -1
        self._is_running = False

    def install(self) -> None:
        """Wait for the signal."""
        signal.signal(signal.SIGALRM, self._look)
        signal.signal(BEGIN_OR_END, self._turn)

    def _turn(self, _number: int, _frame: FrameType | None) -> None:
        self._is_running = not self._is_running
        if self._is_running:
            # The event loop would be woken by each look, and fall behind in reading of it.
            self._wakeup = signal.set_wakeup_fd(-1)
            self._used = time.process_time_ns()
            signal.setitimer(signal.ITIMER_REAL, _EVERY_SECONDS, _EVERY_SECONDS)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup)
            self._write()

    def _look(self, _number: int, frame: FrameType | None) -> None:
        before, self._used = self._used, time.process_time_ns()
        used = self._used - before
        if frame is None:
            return
        self._own[frame.f_code] += used
        codes = set()
        at: FrameType | None = frame
        while at is not None:
            codes.add(at.f_code)
            at = at.f_back
        for code in codes:
            self._within[code] += used

    def _write(self) -> None:
        functions = [
            (_name(code), self._own[code], within) for code, within in self._within.items()
        ]
        part = self._result.with_suffix(".part")
        part.write_text(json.dumps(functions), encoding="utf-8")
        # Whoever waits for the file finds all of it.
        part.replace(self._result)


def _name(code: CodeType) -> str:
    path = code.co_filename
    for folder in ("/site-packages/", f"{Path.cwd()}/", f"/python3.{sys.version_info[1]}/"):
        path = path.rpartition(folder)[2]
    return f"{path}:{code.co_firstlineno} {code.co_qualname}"


def main() -> None:
    """Run the module as if it had been started itself."""
    result, module, *arguments = sys.argv[1:]
    Sampler(Path(result)).install()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
