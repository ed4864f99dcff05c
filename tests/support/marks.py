"""Credits whose accounts are audited and marked along the way, each until some moment."""

from random import Random
from typing import Any, TypeVar
from uuid import UUID

from app.core.audit import Finding
from app.core.database import Database
from app.credits import Credits
from db.driver import Connection

_R = TypeVar("_R")

# The longest part of its life that an account is marked in, in calls.
CALLS = 12


class Marking(Credits):
    """Audits an account since its last mark after calls that are drawn by chance.

    Nothing may ever be found. After so many calls, by chance too, an account is marked no
    more: what comes then is what the next audit has to read.
    """

    def __init__(
        self,
        database: Database,
        admin: Connection,
        chance: Random,
        calls: int = CALLS,
        first_id: str = "first_id",
    ) -> None:
        """`first_id` is where marks say that newer ids begin, in SQL."""
        super().__init__(database)
        self._admin = admin
        self._chance = chance
        self._most_calls = calls
        self._first_id = first_id
        self._left: dict[UUID, int] = {}
        self.audits = 0

    async def _call(
        self, operation: str, row: type[_R], function: str, **arguments: Any
    ) -> list[_R]:
        rows = await super()._call(operation, row, function, **arguments)
        await self._mark(arguments["p_account_id"])
        return rows

    async def _mark(self, account_id: UUID) -> None:
        left = self._left.setdefault(account_id, self._chance.randint(0, self._most_calls))
        if left == 0:
            return
        self._left[account_id] = left - 1
        if self._chance.random() < 0.5:
            page = await self.audit_and_mark(account_id, account_id, since_last=True)
            assert page.findings == [], page
            await self._admin.execute(
                f"update credits.audit_marks set first_id = {self._first_id}"  # noqa: S608
                " where account_id = $1",
                account_id,
            )
            self.audits += 1


async def audited_since(credits: Credits) -> list[Finding]:
    """Audit all accounts since their marks, and return what is found."""
    return [found async for page in credits.audit_pages(since_last=True) for found in page.findings]


async def rewrite_history(admin: Connection) -> None:
    """Give every account a micro-credit more from its beginning, to the last row of the books."""
    await admin.execute("set session_replication_role = replica")
    await admin.execute("update credits.grants set amount = amount + 1, remaining = remaining + 1")
    await admin.execute(
        "update credits.transactions set available_after = available_after + 1,"
        " amount = amount + (amount > 0)::int"
    )
    await admin.execute(
        "update credits.accounts set available = available + 1, bonus = bonus + 1,"
        " granted_total = granted_total + 1"
    )
