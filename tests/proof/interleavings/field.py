"""A database to try things in, and what one after the other comes to there."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product

import asyncpg

from app.core.database import Database, PoolLimits, prepare_connection
from app.credits import Credits
from db.driver import Connection
from tests.proof.ground import Ground
from tests.proof.interleavings.cases import Case, Pauses, Scope
from tests.proof.interleavings.copies import Copies
from tests.proof.interleavings.explorer import exploring
from tests.races.scenes import OPERATIONS, SCENES, stages, story
from tests.support.accounts import Accounts
from tests.support.clock import Clock


@dataclass
class Field:
    """A database with an account of each scene to copy, and who looks at it."""

    url: str
    admin: Connection
    database: Database
    copies: dict[str, Copies]

    async def enter(self, scene: str) -> None:
        """Stop the clock at the time of a scene."""
        await Clock(self.admin).set(SCENES[scene].first_at)

    async def audit(self) -> list[str]:
        """Return what the audit finds in all that was done here."""
        return [str(finding) for finding in await Credits(self.database).audit()]

    async def size(self) -> int:
        """Return how many accounts there are."""
        size: int = await self.admin.fetchval("select count(*) from credits.accounts")
        return size


@asynccontextmanager
async def field(ground: Ground) -> AsyncIterator[Field]:
    """Clone a database and set the scenes."""
    async with ground.database() as name:
        url = ground.servers.app_url(name)
        admin = await asyncpg.connect(ground.servers.admin_url(name))
        await prepare_connection(admin)
        # Postgres looks for a deadlock only after so long.
        await admin.execute(f"alter database {name} set deadlock_timeout = '50ms'")
        # The audit looks at all accounts in one call.
        limits = PoolLimits(min_size=1, max_size=1, command_seconds=300)
        database = await Database.connect(url, limits)
        try:
            credits, accounts = Credits(database), Accounts(database, admin)
            copies = {}
            for key, scene in SCENES.items():
                [original] = await stages(1, scene, credits, accounts, Clock(admin))
                copies[key] = Copies(admin, original)
            yield Field(url, admin, database, copies)
        finally:
            await database.close()
            await admin.close()


class Serial:
    """The books and both answers where one came after the other, and the pauses passed."""

    def __init__(self) -> None:
        self._stories: defaultdict[tuple[str, str, str], list[list[str]]] = defaultdict(list)
        self.pauses: Pauses = {}

    @classmethod
    async def of(cls, on: Field, scope: Scope) -> "Serial":
        """Let every operation come after every other."""
        made = cls()
        async with exploring(on.url) as explorer:
            for scene in scope.scenes:
                await on.enter(scene)
                for names in product(scope.operations, repeat=2):
                    stage = await on.copies[scene].take()
                    for side, name in zip((explorer.first, explorer.second), names, strict=True):
                        side.prepare(OPERATIONS[name], stage)
                        passed = await explorer.count(side)
                        made.pauses[scene, name] = max(made.pauses.get((scene, name), 0), passed)
                    told = explorer.first.answer, explorer.second.answer
                    # A was first; then the same, had B been first.
                    made._keep(scene, names, await story(on.admin, stage, *told))
                    made._keep(scene, names[::-1], await story(on.admin, stage, *told[::-1]))
        return made

    def holds(self, case: Case, told: list[str]) -> bool:
        """Whether it is as if one had come after the other."""
        return told in self._of(case)

    def differing(self, case: Case, told: list[str]) -> str:
        """Return the first line that differs from the closest of both orders."""
        closest = min(
            self._of(case),
            key=lambda lines: sum(a != b for a, b in zip(lines, told, strict=True)),
        )
        got, wanted = next((a, b) for a, b in zip(told, closest, strict=True) if a != b)
        at = next(
            (place for place, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), 0
        )
        near = slice(max(0, at - 40), at + 40)
        return f"…{got[near]}… where one after the other comes to …{wanted[near]}…"

    def _of(self, case: Case) -> list[list[str]]:
        return self._stories[case.scene, case.first, case.second]

    def _keep(self, scene: str, names: tuple[str, ...], told: list[str]) -> None:
        first, second = names
        self._stories[scene, first, second].append(told)
