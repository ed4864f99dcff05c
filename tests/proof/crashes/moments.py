"""The right moment to strike: known from Postgres or the proxy, not left to luck."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple
from uuid import UUID

from db.driver import Connection
from tests.proof.crashes.accounts import Opened
from tests.proof.crashes.installation import Installation
from tests.proof.crashes.waits import NotSeen, seen
from tests.support.processes import ApiProcess

# So many calls at least are inside of Postgres, all of them let go at once, when it is hit. Most
# requests are in the few that decide for many accounts.
CROWD = 8
# So many of them decide for many accounts, and have locked theirs.
CROWD_FOR_MANY = 2
# How long after that: all of what a call does lies within.
_CALL_SECONDS = 0.006
# Less than anybody waits for a lock.
_CROWD_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_VISITS_SECONDS = 10.0
_PAUSE = 0.005
# Who waits for the keeper of a lock, and others for them.
_NEXT = """
with waiting as (
    select pid, query, unnest(pg_blocking_pids(pid)) as holder from pg_stat_activity
    where application_name = 'exchequer' and wait_event_type = 'Lock'
)
select distinct on (pid) pid, query ~ 'credits\\.[a-z]+_many' as for_many from waiting
where holder = $1 and pid in (select holder from waiting)
order by pid
"""
# Whether it keeps others waiting, and waits for nobody.
_HOLDS = """
select cardinality(pg_blocking_pids($1)) = 0 and exists (
    select from pg_stat_activity
    where application_name = 'exchequer' and wait_event_type = 'Lock'
        and $1 = any(pg_blocking_pids(pid))
)
"""
_BACKENDS = "select pid from pg_stat_activity where application_name = 'exchequer'"
_CROWD = """
select count(*) as waiting, count(*) filter (where query ~ 'credits\\.[a-z]+_many') as for_many
from pg_stat_activity
where application_name = 'exchequer' and wait_event_type = 'Lock'
"""
_VISITS = """
select count(*) from pg_stat_activity
where wait_event_type = 'Lock' and query ~ 'credits\\.(catch_up|expire_reservations)'
"""
_KEEP = "select from credits.accounts where account_id = any($1) for no key update"
# Every call that opens or closes reservations has locked its accounts when it waits for this;
# one that decides for many waits for nothing else.
_KEEP_RESERVATIONS = "lock table credits.reservations in share mode"


class Sending(NamedTuple):
    """Who was asked for whom."""

    api: ApiProcess
    account: UUID


@dataclass(slots=True)
class Scene:
    """What a fault finds when it strikes, and whether it was met as it is meant."""

    installation: Installation
    chance: Random
    opened: Opened
    # Sends the second half of all work, to have something under way when it strikes.
    send: Callable[[], None]
    sent: "dict[asyncio.Task[None], Sending]" = field(default_factory=dict)
    is_all_sent: bool = False
    # How many calls were known to be inside of Postgres when it struck, how many of them for
    # many accounts.
    inside: int = 0
    inside_for_many: int = 0
    # Whether the one backend that was struck was deciding for many accounts.
    has_struck_for_many: bool = False
    # The most accounts that had a request under way at once.
    accounts: int = 0
    is_met: bool = False

    @property
    def is_quiet(self) -> bool:
        """Whether every request that was sent has its answer, or will have none."""
        return all(task.done() for task in self.sent)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come."""
        return self.is_all_sent and self.is_quiet

    def asked(self, api: ApiProcess) -> int:
        """How many requests this API has not answered."""
        return sum(one.api is api and not task.done() for task, one in self.sent.items())

    def look(self) -> None:
        """Note how many calls are inside of Postgres, by what the proxy knows."""
        proxy = self.installation.proxy
        self.inside, self.inside_for_many = proxy.inside, proxy.inside_for_many

    def count_accounts(self) -> None:
        """Note for how many accounts somebody waits, by what the clients know."""
        waiting = {one.account for task, one in self.sent.items() if not task.done()}
        self.accounts = max(self.accounts, len(waiting))


def under_way(scene: Scene) -> None:
    """Send all that is left, for what does not aim at Postgres."""
    scene.send()
    scene.is_met = not scene.is_quiet
    scene.look()


async def crowded(scene: Scene) -> None:
    """Let many calls go at once, and return in the middle of what they do: when is drawn."""
    async with _gathered(scene):
        pass
    await asyncio.sleep(scene.chance.uniform(0, _CALL_SECONDS))


@asynccontextmanager
async def _gathered(scene: Scene) -> AsyncIterator[Connection]:
    """Keep what calls need until many wait for it; let them go on leaving.

    What calls of one account need is the lock of a hot account. Calls for many wait for none;
    they get theirs, and then need the table of reservations. Lends the connection that keeps.
    """
    installation = scene.installation
    async with (
        installation.admin() as admin,
        installation.admin() as keeper,
        keeper.transaction(),
    ):
        # In the order in which calls take them.
        await keeper.execute(_KEEP, scene.opened.hot)
        await keeper.execute(_KEEP_RESERVATIONS)
        scene.send()

        async def waits() -> bool:
            crowd = await admin.fetchrow(_CROWD)
            assert crowd is not None
            scene.inside, scene.inside_for_many = crowd["waiting"], crowd["for_many"]
            scene.is_met = scene.inside >= CROWD and scene.inside_for_many >= CROWD_FOR_MANY
            return scene.is_met or scene.is_over

        try:
            await seen(waits, "a crowd", seconds=_CROWD_SECONDS, pause=_PAUSE)
        except NotSeen:
            scene.is_met = False  # counted: see the verdict
        yield keeper


async def stopped_holder(scene: Scene) -> int:
    """Stop a backend (SIGSTOP) that holds an account's lock for which others wait; its pid.

    Those that are next in line are stopped before the locks are let go, then one after the
    other may run for a drawn while: so it is somewhere in its call, if it has not ended. What
    Postgres says of it while it stands is true as long as it does. Where the load ends before
    one is found, it is any backend, and not met.
    """
    async with scene.installation.admin() as admin:
        while not scene.is_over:
            async with _gathered(scene) as keeper:
                rows = await admin.fetch(_NEXT, keeper.get_server_pid())
                line: list[int] = [row["pid"] for row in rows]
                for_many = {row["pid"] for row in rows if row["for_many"]}
                scene.chance.shuffle(line)
                # Those for many accounts have their turn first in every other round.
                if scene.chance.random() < 1 / 2:
                    line.sort(key=for_many.__contains__)
                for pid in line:
                    os.kill(pid, signal.SIGSTOP)
            spread = _CALL_SECONDS
            try:
                while line:
                    pid = line.pop()
                    _resume(pid)
                    _spin(scene.chance.uniform(0, spread))
                    if _stop(pid) and await _holds(admin, pid):
                        scene.is_met = True
                        scene.has_struck_for_many = pid in for_many
                        return pid
                    _resume(pid)
                    spread /= 2
            finally:
                for pid in line:
                    _resume(pid)
    scene.is_met = False
    any_of_them: int = scene.chance.choice(await backends(scene))
    os.kill(any_of_them, signal.SIGSTOP)
    return any_of_them


def _spin(seconds: float) -> None:
    """Wait, and do nothing else: the loop would come back late."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        continue


async def _holds(admin: Connection, pid: int) -> bool:
    """Whether a stopped backend keeps others waiting; no, if it keeps Postgres from looking."""
    look = asyncio.ensure_future(admin.fetchval(_HOLDS, pid))
    await asyncio.wait({look}, timeout=_LOOK_SECONDS)
    is_seen = look.done()
    if not is_seen:
        _resume(pid)
    return bool(await look) and is_seen


def _stop(pid: int) -> bool:
    """Stop a process; False where it has ended meanwhile."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return True


def _resume(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def visits_waiting(scene: Scene) -> AsyncIterator[None]:
    """Keep the idle account's lock until the visit of every worker waits for it."""
    workers = len(scene.installation.workers)
    async with (
        scene.installation.admin() as admin,
        scene.installation.admin() as keeper,
        keeper.transaction(),
    ):
        await keeper.execute(_KEEP, scene.opened.idle)

        async def all_wait() -> bool:
            waiting: int = await admin.fetchval(_VISITS)
            return waiting >= workers

        try:
            await seen(all_wait, "visits that wait", seconds=_VISITS_SECONDS, pause=_PAUSE)
        except NotSeen:
            scene.is_met = False  # counted: see the verdict
        else:
            scene.is_met = True
        scene.look()
        yield


async def backends(scene: Scene) -> list[int]:
    """Return the backends of all processes."""
    async with scene.installation.admin() as admin:
        return [row["pid"] for row in await admin.fetch(_BACKENDS)]
