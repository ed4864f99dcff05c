"""Plays scripts against a server, and tells what was found."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from tests.fuzzing import world
from tests.fuzzing.judge import Wrong
from tests.fuzzing.kinds import ALONE, BLOCK, script
from tests.fuzzing.play import Heard, Player
from tests.fuzzing.server import Server, serving
from tests.fuzzing.wire import Wire

_CLIENTS = 12
_CPU_SECONDS = 0.050
# Before so many requests the caches of documents are not full, and memory must grow.
_WARM = 5_000
_GROWTH = 0.10
_GROWTH_BYTES = 8 * 2**20
# The pool of Postgres fills under load, and empties when it was idle for long enough.
_POOL = 20
_CLOSED_TRIES = 2_000
_EXAMPLES = 2


@dataclass(slots=True)
class Cost:
    """CPU seconds of the server for refused requests of one kind."""

    count: int = 0
    seconds: float = 0.0
    # For one refusal of a script: the dearest script, and its index.
    worst: float = 0.0
    worst_index: int = 0

    def add(self, index: int, refused: int, seconds: float) -> None:
        """Count the refusals of one script."""
        self.count += refused
        self.seconds += seconds
        if seconds / refused > self.worst:
            self.worst, self.worst_index = seconds / refused, index

    @property
    def mean(self) -> float:
        """What one costs; the dearest is left out, for a collection of garbage falls on anybody."""
        if self.count < 2:
            return self.seconds
        return max(0.0, self.seconds - self.worst) / (self.count - 1)


@dataclass(slots=True)
class Failure:
    """What went wrong in the same way: how often, and the first few times in full."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """All that was counted."""

    seed: int
    played: int = 0
    seconds: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    costs: dict[str, Cost] = field(default_factory=dict)
    good: int = 0
    suspects: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    descriptors: tuple[int, int] = (0, 0)
    descriptors_after: tuple[int, int] = (0, 0)

    def fail(self, what: str, told: str = "", index: int | None = None) -> None:
        """Note a failure, with all that is needed to play it again."""
        failure = self.failures.setdefault(what, Failure())
        failure.count += 1
        if len(failure.examples) >= _EXAMPLES:
            return
        again = f"seed {self.seed}"
        if index is not None:
            kind, played = script(self.seed, index)
            again += (
                f", index {index}, kind {kind};"
                f" again: python -m tests.fuzzing --seed {self.seed} --only {index}"
                f"\n{played.written()}"
            )
        failure.examples.append(f"{told}\n  {again}".strip())


async def fuzz(seed: int, requests: int, only: int | None = None) -> Report:
    """Play scripts 0 to `requests`, or only one; return what was found."""
    report = Report(seed)
    loop = asyncio.get_running_loop()
    async with serving() as (server, url):
        fuzzer = _Fuzzer(server, report)
        await fuzzer.begin()
        started = loop.time()
        try:
            await (fuzzer.all(requests) if only is None else fuzzer.alone(range(only, only + 1)))
            report.seconds = loop.time() - started
            await fuzzer.end()
        except OSError as error:
            report.fail("the server cannot be reached", repr(error))
        if found := await world.audit(url):
            report.fail("the books are wrong", str(found))
        report.played = sum(report.kinds.values())
    weigh(report)
    return report


def weigh(report: Report) -> None:
    for kind, cost in report.costs.items():
        if cost.mean > _CPU_SECONDS:
            mean, worst = cost.mean * 1000, cost.worst * 1000
            told = f"{mean:.1f} ms on average; the costliest one, {worst:.1f} ms, is"
            report.fail(f"a refusal of {kind} costs too much", told, cost.worst_index)
    if "warm" in report.memory:
        warm, end = report.memory["warm"], report.memory["end"]
        if end - warm > warm * _GROWTH + _GROWTH_BYTES:
            report.fail("memory grew", f"from {warm} to {end} bytes")


class _Fuzzer:
    def __init__(self, server: Server, report: Report) -> None:
        self._server = server
        self._report = report
        self._players = [Player(server.port) for _ in range(_CLIENTS)]

    async def begin(self) -> None:
        await self._good()
        self._report.descriptors = await self._settled()

    async def all(self, requests: int) -> None:
        for start in range(0, requests, BLOCK):
            stop = min(start + BLOCK, requests)
            together = range(start, min(stop, start + BLOCK - ALONE))
            # Each client has its share, so that what goes over a kept connection is the same
            # in every run.
            async with asyncio.TaskGroup() as group:
                for number, player in enumerate(self._players):
                    group.create_task(self._share(player, together[number::_CLIENTS]))
            self._look(f"between index {start} and {together.stop}")
            await self.alone(range(together.stop, stop))
            if stop >= max(requests / 4, _WARM) and "warm" not in self._report.memory:
                self._report.memory["warm"] = self._server.resident_bytes()
            if not self._server.runs:
                break
        if "warm" in self._report.memory:
            self._report.memory["end"] = self._server.resident_bytes() if self._server.runs else 0

    async def alone(self, indices: range) -> None:
        """Play scripts one at a time, and learn what each costs the server; then ask how it is."""
        player = self._players[0]
        for index in indices:
            await self._quiet()
            before = self._server.cpu_seconds()
            kind, heard = await self._play(player, index)
            await self._quiet()
            self._look(f"index {index}", index)
            if heard is not None and heard.refused:
                used = self._server.cpu_seconds() - before
                self._report.costs.setdefault(kind, Cost()).add(index, heard.refused, used)
        await self._good()

    async def end(self) -> None:
        for player in self._players:
            player.leave()
        if not self._server.runs:
            self._look()
            self._report.fail("the server has ended by itself")
            return
        held, others = self._report.descriptors_after = await self._settled()
        if held or others > self._report.descriptors[1] + _POOL:
            told = f"{self._report.descriptors} before, {held, others} now"
            self._report.fail("open files", told)
        if (code := await self._server.stop()) != 0:
            self._report.fail(f"the server ended with {code}")
        self._look()

    async def _share(self, player: Player, indices: range) -> None:
        for index in indices:
            if not self._server.runs:
                return
            await self._play(player, index)

    async def _play(self, player: Player, index: int) -> tuple[str, Heard | None]:
        kind, played = script(self._report.seed, index)
        self._report.kinds[kind] += 1
        try:
            heard = await player.play(played)
        except (Wrong, OSError) as error:
            what, _, told = str(error).partition(": ")
            self._report.fail(what or repr(error), told, index)
            return kind, None
        self._report.outcomes.update(heard.outcomes)
        return kind, heard

    async def _good(self) -> None:
        self._report.good += 1
        if (wrong := await self._server.good()) is not None:
            self._report.fail("a good request", wrong)

    async def _quiet(self, times: int = 1) -> int:
        """Wait until the server has done all that came before: it answers in turn.

        Return how many connections of clients it still had, this one not counted.
        """
        wire = await Wire.open(self._server.port)
        held = 0
        for _ in range(times):
            await wire.send(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            await wire.answer()
            if times == 1 or not (held := self._server.descriptors()[0] - 1):
                break
        wire.close()
        return held

    async def _settled(self) -> tuple[int, int]:
        """Return what is open once connections that were left have been noticed."""
        held = await self._quiet(_CLOSED_TRIES)
        return held, self._server.descriptors()[1]

    def _look(self, where: str = "at the end", index: int | None = None) -> None:
        """Read what the log has told since; lines without an id came from `where`."""
        for found, what, line in self._server.suspects():
            self._report.suspects += 1
            told = f"{where}: {line[:6_000]}" if found is None else line[:6_000]
            self._report.fail(f"in the log: {what}", told, index if found is None else found)
