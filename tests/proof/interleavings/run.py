"""Try the orders, and compare each with one after the other."""

from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

from tests.proof.ground import Ground
from tests.proof.interleavings.cases import ALL, Case, Scope, drawn, merges, scope_of, stops
from tests.proof.interleavings.explorer import DEADLOCK, Explorer, Stand, exploring
from tests.proof.interleavings.field import Field, Serial, field
from tests.proof.interleavings.pauses import Functions, Mutate
from tests.proof.verdict import Verdict, Zero
from tests.races.scenes import OPERATIONS, story

REPLAY: Final = 'python -m tests.proof.interleavings --only "{}"'

Act = Callable[[Explorer, Case], Awaitable[None]]


async def prove(
    ground: Ground,
    count: int,
    seed: int,
    *,
    scope: Scope = ALL,
    only: str = "",
    mutate: Mutate | None = None,
) -> Verdict:
    """Try so many schedules, merges and pauses; all there are, if that is fewer."""
    verdict = Verdict("interleavings", seed)
    run = _Run(Functions(mutate), Random(seed), count, scope_of(only) if only else scope, only)
    verdict.zeros, verdict.figures = run.zeros, run.figures
    async with field(ground) as paused:
        await run.stop(paused)
    async with field(ground) as plain:
        await run.merge(plain)
    if not any(zero.of for zero in run.zeros):
        raise ValueError(f"there is no {only}")
    return verdict


class _Run:
    """What is tried, and what was seen."""

    def __init__(
        self, functions: Functions, random: Random, count: int, scope: Scope, only: str
    ) -> None:
        self._functions = functions
        self._scope = scope
        self._random = random
        self._count = count
        self._only = only
        # A third each: merges, stops of one side, stops of both, which are the most.
        self._merges = self._drawn(merges(scope), count // 3)
        self._serial: Serial
        self._odd = Zero("not as one after the other", 0, "schedules")
        self._deadlocks = Zero("deadlocks", 0, "schedules")
        self._endless = Zero("sides that did not end", 0, "schedules")
        self._audit = Zero("findings of the audit", 0, "accounts")
        self.zeros = [self._odd, self._deadlocks, self._endless, self._audit]
        self.figures: dict[str, int | str] = {
            "operations": len(scope.operations),
            "scenes": len(scope.scenes),
            "merges of BEGIN, call, COMMIT, there are": len(merges(scope)),
            "merges tried": len(self._merges),
        }

    async def stop(self, on: Field) -> None:
        """Stop A, and B, at pauses in the functions."""
        points = await self._functions.apply_paused(on.admin)
        self._serial = await Serial.of(on, self._scope)
        of_one, of_both = (
            stops(self._serial.pauses, both=False, scope=self._scope),
            stops(self._serial.pauses, both=True, scope=self._scope),
        )
        one = self._drawn(of_one, self._count // 3)
        both = self._drawn(of_both, self._count - len(self._merges) - len(one))
        seen: Counter[str] = Counter()
        stood_at: set[str] = set()

        async def act(explorer: Explorer, case: Case) -> None:
            first, second = await explorer.pause(*case.stops)
            seen["came"] += first is Stand.PAUSED
            seen["waited"] += first is Stand.PAUSED and second is Stand.WAITS
            stood_at.update([await explorer.point(side) for side in explorer.sides])

        await self._explore(on, one + both, act)
        self.figures |= {
            "A stops at a pause, there are": len(of_one),
            "tried": len(one),
            "A and B stop at a pause each, there are": len(of_both),
            "of these tried": len(both),
            "in which B came while A stood at a pause": seen["came"],
            "and in which B waited for A": seen["waited"],
            "pauses in the functions": len(points),
            "pauses stood at": len(stood_at - {""}),
        }

    async def merge(self, on: Field) -> None:
        """Merge whole steps, with the functions as they are."""
        await self._functions.apply_changed(on.admin)
        waited = 0

        async def act(explorer: Explorer, case: Case) -> None:
            nonlocal waited
            waited += await explorer.merge(case.order)

        await self._explore(on, self._merges, act)
        self.figures["merges in which one waited for the other"] = waited

    async def _explore(self, on: Field, cases: list[Case], act: Act) -> None:
        """Try cases; where a side does not end, the next begins on new connections."""
        left = cases[::-1]
        scene = ""
        while left:
            async with exploring(on.url) as explorer:
                while left:
                    case = left.pop()
                    if case.scene != scene:
                        scene = case.scene
                        await on.enter(scene)
                    if not await self._try(on, explorer, case, act):
                        break
        self._audit.of += await on.size()
        for finding in await on.audit():
            self._audit.happened(finding)

    async def _try(self, on: Field, explorer: Explorer, case: Case, act: Act) -> bool:
        stage = await on.copies[case.scene].take()
        explorer.first.prepare(OPERATIONS[case.first], stage)
        explorer.second.prepare(OPERATIONS[case.second], stage)
        for zero in (self._odd, self._deadlocks, self._endless):
            zero.of += 1
        replay = REPLAY.format(case.name)
        try:
            await act(explorer, case)
        except TimeoutError:
            self._endless.happened(replay)
            return False
        answers = [side.answer for side in explorer.sides]
        if DEADLOCK in answers:
            self._deadlocks.happened(replay)
            return True
        told = await story(on.admin, stage, *answers)
        if not self._serial.holds(case, told):
            self._odd.happened(f"{replay}\n      {self._serial.differing(case, told)}")
        return True

    def _drawn(self, cases: list[Case], count: int) -> list[Case]:
        if self._only:
            return [case for case in cases if case.name == self._only]
        return drawn(cases, count, self._random)
