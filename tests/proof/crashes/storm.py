"""A storm of cancellations: callers of `Credits` broken off at any of their awaits."""

import asyncio
import itertools
import types
from collections import Counter
from collections.abc import Coroutine, Generator
from random import Random
from typing import Any
from uuid import UUID

from app.core.database import Database
from app.credits import Credits, ReleaseRequest, ReserveRequest, SettleRequest
from tests.proof.crashes.accounts import Given
from tests.proof.crashes.books import Books, audited
from tests.proof.crashes.load import Step, Truth, Work, plan
from tests.proof.crashes.waits import NotSeen, seen
from tests.proof.verdict import Verdict, Zero
from tests.support.accounts import CREDIT

# Who rides with others awaits one answer; a deduction its turn, a connection, and what is said on
# it. One that awaits less often is not broken off.
_AWAITS = {"reserve": 1, "settle": 1, "release": 1, "deduct": 4}
# Where a storm must have broken off somebody: before what was awaited came, and after.
POINTS = tuple(
    (name, at, late)
    for name, most in _AWAITS.items()
    for at in range(1, min(most, 3) + 1)
    for late in (False, True)
)
_AT_ONCE = 40
_QUIET_SECONDS = 5
# A statement that was prepared and never executed counts as active.
_BEGUN = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'exchequer'
    and (state <> 'idle' or xact_start is not null) and pid <> pg_backend_pid()
"""


@types.coroutine
def broken_off(
    work: Coroutine[Any, Any, Any], at: int, *, late: bool = False
) -> Generator[Any, Any, Any]:
    """Await `work`, and cancel it when it waits for the time `at`, counted from 1.

    `late`: when what it waits for has come, as a cancellation in the same pass of the loop.
    """
    task = asyncio.current_task()
    assert task is not None
    send, value = work.send, None
    for wait in itertools.count(1):
        try:
            waited = send(value)
        except StopIteration as done:
            return done.value
        if wait == at and not late:
            task.cancel()
        try:
            send, value = work.send, (yield waited)
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001  # the work hears it
            send, value = work.throw, error
        else:
            if wait == at and late:
                send, value = work.throw, asyncio.CancelledError()


class Storm:
    """Work of many callers on one pool, each step of it broken off at a drawn await."""

    BEGUN = "connections left in a transaction"

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._credits = Credits(database)
        self._chance = Random(seed)  # to be drawn again
        self._seed = seed
        self.truth = Truth()
        # How many were broken off where.
        self.met: Counter[tuple[str, int, bool]] = Counter()

    async def blow(self, accounts: list[UUID], opening: int, count: int) -> Verdict:
        """Break off, ask again with the same keys, and compare the books."""
        verdict = Verdict("cancellations", self._seed)
        works = plan(self._chance, "storm", accounts, count)
        crowd = asyncio.Semaphore(_AT_ONCE)
        tasks = [asyncio.ensure_future(self._first(work, crowd)) for work in works]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        requests = sum(len(work.steps) for work in works)
        begun = Zero(self.BEGUN, self._database.size[0], "connections")
        await self._quiet(begun)
        changed = Zero("answered otherwise when asked again", requests, "requests")
        for work in works:
            for step in work.steps:
                await self._again(work, step, changed)
        lost = Zero("acknowledged and lost", requests, "requests")
        doubled = Zero("happened twice", requests, "requests")
        sums = Zero("sums other than the truth", len(accounts), "accounts")
        findings = Zero("audit findings", len(accounts), "accounts")
        given = [Given(account, "top_up", opening * CREDIT) for account in accounts]
        await Books(works, self.truth, given).compare(self._database, lost, doubled, sums)
        await audited(self._database, findings, accounts)
        verdict.zeros = [begun, lost, doubled, changed, sums, findings]
        verdict.figures = {
            "requests": requests,
            "broken off": len(self.truth.errors),
            "of them had happened": len(self.truth.committed),
        }
        return verdict

    async def _first(self, work: Work, crowd: asyncio.Semaphore) -> None:
        async with crowd:
            for step in work.steps:
                # Some arrive, or nothing would ever be settled.
                at = self._chance.randint(1, _AWAITS[step.name] + 1)
                late = self._chance.random() < 1 / 2
                try:
                    answer = await broken_off(self._ask(work, step), at, late=late)
                except asyncio.CancelledError:
                    self.truth.errors[step] = "cancelled"
                    self.met[step.name, at, late] += 1
                    return
                self.truth.note(step, answer)

    async def _again(self, work: Work, step: Step, changed: Zero) -> None:
        if step not in self.truth.answers:
            self.truth.note(step, await self._ask(work, step))
        answer = await self._ask(work, step)
        replayed = answer.pop("replayed")
        if not replayed or answer != self.truth.answers[step]:
            changed.happened(f"{step}: {answer}, not {self.truth.answers[step]}")

    async def _quiet(self, begun: Zero) -> None:
        """Wait until the server has ended what was cancelled; nothing may stay begun."""

        async def ended() -> bool:
            begun.found = await self._database.value(_BEGUN)
            return begun.found == 0

        try:
            await seen(ended, "an end of every transaction", seconds=_QUIET_SECONDS)
        except NotSeen as never:
            begun.examples.append(str(never))

    async def _ask(self, work: Work, step: Step) -> dict[str, Any]:
        account = work.account
        if step.name == "deduct":
            paid = await self._credits.deduct(account, work.amount, work.key)
            return {"replayed": paid.replayed, "version": paid.version}
        if step.name == "reserve":
            held = await self._credits.reserve(account, ReserveRequest(work.key, work.amount))
            reservation = {"id": str(held.reservation_id)}
            return {"replayed": held.replayed, "reservation": reservation}
        identifier = UUID(self.truth.answers[Step(work.key, "reserve")]["reservation"]["id"])
        if step.name == "settle":
            settled = await self._credits.settle(account, SettleRequest(identifier, work.used))
            return {"replayed": settled.replayed, "version": settled.version}
        released = await self._credits.release(account, ReleaseRequest(identifier))
        return {"replayed": released.replayed, "version": released.version}
