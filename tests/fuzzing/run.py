"""Plays scripts against a server, and finds out what went wrong and what a refusal costs.

What a refusal costs is CPU time of the server's process, to the nanosecond, never time on
the wall: others may use the machine. Most scripts are played several at a time, and all that
the server has used from a script's beginning to its end is a bound of its cost, too high by
what was served meanwhile. Where even that is within the limit, so is the cost. Any other is
measured anew: alone, with the server at rest before and after, what it knows of documents
forgotten, up to eight times; the least counts, for a collection of garbage falls on anybody.
All are seconds of the machine the limit was set on, by a control that runs beside them.
Some of each kind are always measured alone. One figure is a script's, divided by how many
refusals it brought: what else the script asks for, a handshake for one, is in it.
"""

import asyncio

from tests.fuzzing import world
from tests.fuzzing.control import slowness
from tests.fuzzing.judge import Wrong
from tests.fuzzing.kinds import ALONE, BLOCK, script
from tests.fuzzing.play import Heard, Player
from tests.fuzzing.report import Report
from tests.fuzzing.script import written
from tests.fuzzing.server import Installation, Server, serving
from tests.fuzzing.wire import Wire

CPU_SECONDS = 0.050
_CLIENTS = 8
_ROUNDS = 8
# So many are measured anew at a time.
_SUSPECTS = 50
# More than the server keeps of documents that are not its own.
_FORGOTTEN = 300
# Before so many requests the caches of documents are not full, and memory must grow.
_WARM = 5_000
# How often memory is noted on the way, to tell a step from a slope.
_SAMPLES = 10
# The pool of Postgres fills under load, and empties when it was idle for long enough.
_POOL = 20
_CLOSED_TRIES = 2_000


async def fuzz(
    place: Installation,
    seed: int,
    requests: int,
    *,
    only: int | None = None,
    module: str = "app.cli",
    warm: int | None = None,
    rounds: int = _ROUNDS,
) -> Report:
    """Play scripts 0 to `requests`, or only one; return what was found.

    Memory is judged from script `warm` on: a quarter of the way, once caches are full. What may
    have cost too much is tried again so many `rounds`.
    """
    report = Report(seed)
    loop = asyncio.get_running_loop()
    async with serving(place, module) as server:
        fuzzer = _Fuzzer(
            server, report, max(requests // 4, _WARM) if warm is None else warm, rounds
        )
        await fuzzer.begin()
        started = loop.time()
        try:
            if only is None:
                await fuzzer.all(requests)
            else:
                await fuzzer.alone(range(only, only + 1))
                await fuzzer.weigh_suspects()
            report.seconds = loop.time() - started
            await fuzzer.end()
        except OSError as error:
            report.fail("the server cannot be reached", repr(error))
    if found := await world.audit(place.database_url):
        report.fail("the books are wrong", str(found))
    report.played = sum(report.kinds.values())
    report.weigh(CPU_SECONDS)
    return report


class _Fuzzer:
    def __init__(self, server: Server, report: Report, warm: int, rounds: int) -> None:
        self._server = server
        self._report = report
        self._warm = warm
        self._rounds = rounds
        self._players = [Player(server.port) for _ in range(_CLIENTS)]
        # Of scripts that may have cost too much: the index, and what they cost at most.
        self._suspects: dict[int, float] = {}
        self._texts = 0
        self._slowness = slowness()

    async def begin(self) -> None:
        await self._good()
        self._report.memory["start"] = self._server.resident_bytes()
        self._report.descriptors = await self._settled()

    async def all(self, requests: int) -> None:
        memory = self._report.memory
        for start in range(0, requests, BLOCK):
            if start * _SAMPLES // requests > len(self._report.samples):
                self._report.samples.append(self._server.resident_bytes())
            if start >= self._warm and "warm" not in memory:
                memory["warm"] = self._server.resident_bytes()
            stop = min(start + BLOCK, requests)
            together = range(start, min(stop, start + BLOCK - ALONE))
            # Each client has its share, so that what goes over a kept connection is the same
            # in every run.
            async with asyncio.TaskGroup() as group:
                for number, player in enumerate(self._players):
                    group.create_task(self._share(player, together[number::_CLIENTS]))
            self._look(f"between index {start} and {together.stop}")
            await self.alone(range(together.stop, stop))
            if not self._server.runs:
                return
            if len(self._suspects) >= _SUSPECTS:
                await self.weigh_suspects()
        await self.weigh_suspects()
        if "warm" in memory and self._server.runs:
            memory["end"] = self._server.resident_bytes()

    async def alone(self, indices: range) -> None:
        """Play scripts one at a time, and learn what each costs; then ask how the server is."""
        self._beside()
        for index in indices:
            cost = await self._cost(index)
            self._look(f"index {index}", index)
            if cost is not None and cost > CPU_SECONDS:
                self._suspects[index] = cost
            elif cost is not None:
                self._report.cost(index, cost)
        await self._good()

    async def _cost(self, index: int, *, again: bool = False) -> float | None:
        """Return what a script costs for each refusal it brings; None if it brings none."""
        await self._quiet()
        before = self._server.cpu_seconds()
        heard = await self._play(self._players[0], index, again=again)
        await self._quiet()
        if heard is None or not heard.refused:
            return None
        return self._since(before) / heard.refused

    def _since(self, before: float) -> float:
        return (self._server.cpu_seconds() - before) / self._slowness

    def _beside(self) -> None:
        self._slowness = slowness()
        self._report.slowness.append(self._slowness)

    async def weigh_suspects(self) -> None:
        """Measure anew what may have cost too much, until it has not or was tried enough."""
        left = dict(self._suspects)
        for _ in range(self._rounds):
            if not left or not self._server.runs:
                break
            await self._forget()
            self._beside()
            for index in left:
                cost = await self._cost(index, again=True)
                self._look(f"index {index}, again", index)
                if cost is not None:
                    self._suspects[index] = min(self._suspects[index], cost)
            left = {i: cost for i, cost in self._suspects.items() if cost > CPU_SECONDS}
        for index, cost in self._suspects.items():
            self._report.cost(index, cost, again=True)
        self._suspects.clear()

    async def _forget(self) -> None:
        """Ask for more new documents than the server keeps, so that it reads the next anew."""
        wire = await Wire.open(self._server.port)
        try:
            for _ in range(_FORGOTTEN):
                self._texts += 1
                body = written({"query": f"{{ forgotten{self._texts} }}"})
                await wire.send(
                    b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
                )
            for _ in range(_FORGOTTEN):
                await wire.answer()
        finally:
            wire.close()

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
            before = self._server.cpu_seconds()
            heard = await self._play(player, index)
            if heard is None or not heard.refused or not self._server.runs:
                continue
            used = self._since(before) / heard.refused
            if used > CPU_SECONDS:
                self._suspects[index] = used
            else:
                self._report.bounded += 1

    async def _play(self, player: Player, index: int, *, again: bool = False) -> Heard | None:
        kind, played = script(self._report.seed, index)
        self._report.kinds[kind] += not again
        try:
            heard = await player.play(played)
        except (Wrong, OSError) as error:
            what, _, told = str(error).partition(": ")
            self._report.fail(what or repr(error), told, index)
            return None
        if not again:
            self._report.outcomes.update(heard.outcomes)
        return heard

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
