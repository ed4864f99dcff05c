"""The accounts of one round: hot ones, many others, a scarce one, and one only time touches."""

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.credits import Credits
from tests.proof.crashes.installation import Installation
from tests.proof.crashes.load import SHORT_SECONDS
from tests.support.accounts import CREDIT, Accounts

# So many have a few callers each, who are decided in company.
MANY = 32
# So many have a crowd each, and a lane of their own. All calls of theirs at once leave
# connections for the others.
HOT = 4
# Of so many callers in turn one calls a hot account.
_CROWD = 3
_OPENING = 1_000  # more than all work together can use: no refusal hides a loss
_CLOCK = "select core.clock()"


class Given(NamedTuple):
    """A row that the ledger shall have: credits that came or went and were not spent."""

    account: UUID
    type: str
    amount: int


@dataclass(slots=True)
class Opened:
    """Accounts, and what their ledgers shall say besides what clients spend."""

    many: list[UUID] = field(default_factory=list)
    hot: list[UUID] = field(default_factory=list)
    # Has less than is asked for.
    scarce: list[UUID] = field(default_factory=list)
    # Nobody calls it: what falls due there is the worker's to do.
    idle: list[UUID] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    # Those of them that time brings, and when.
    due: dict[Given, datetime] = field(default_factory=dict)

    @property
    def all(self) -> list[UUID]:
        """Every account."""
        return [*self.many, *self.hot, *self.scarce, *self.idle]

    @property
    def turns(self) -> list[UUID]:
        """Whose account callers call, one after the other: each of the many once."""
        crowds = itertools.cycle(self.hot)
        return [
            account
            for place, one in enumerate(self.many, 1)
            for account in ([one, next(crowds)] if place % _CROWD == 0 else [one])
        ]


async def open_accounts(installation: Installation, capacity: int) -> Opened:
    """Open the accounts of a round; the scarce one has so many whole credits."""
    opened = Opened()
    async with installation.admin() as admin, installation.database() as database:
        accounts = Accounts(database, admin)
        project_id = await accounts.project()

        async def make(credits: int, count: int) -> list[UUID]:
            made = await asyncio.gather(
                *(accounts.open(credits, project_id=project_id) for _ in range(count))
            )
            opened.given += [Given(account, "top_up", credits * CREDIT) for account in made]
            return made

        opened.many = await make(_OPENING, MANY)
        opened.hot = await make(_OPENING, HOT)
        opened.scarce = await make(capacity, 1 if capacity else 0)
        opened.idle = await make(1, 1)
        await _let_fall_due(opened, Credits(database), await admin.fetchval(_CLOCK))
    return opened


async def _let_fall_due(opened: Opened, credits: Credits, now: datetime) -> None:
    """Give the idle account a grant that ends soon, and one that begins then."""
    [idle] = opened.idle
    soon = now + timedelta(seconds=SHORT_SECONDS)
    ending, beginning = 3 * CREDIT, 2 * CREDIT
    await credits.issue_grant(idle, ending, "promotional", "ending", expires_at=soon)
    await credits.issue_grant(idle, beginning, "promotional", "beginning", effective_at=soon)
    opened.given.append(Given(idle, "promotional", ending))
    opened.due = {
        Given(idle, "expiration", -ending): soon,
        Given(idle, "promotional", beginning): soon,
    }
