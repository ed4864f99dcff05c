"""What time brings is done, whoever was killed: waited for, and counted where it was not."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from db.driver import Connection
from tests.proof.crashes.accounts import Given, Opened
from tests.proof.crashes.load import Truth, Work
from tests.proof.crashes.waits import BACK_SECONDS, seen
from tests.proof.verdict import Zero

# Past the end of a reservation and a sweep: what a busy machine may take on top.
MARGIN_SECONDS = 5.0
_NOW = "select core.clock()"
_LEFT = """
select idempotency_key as key, status, expires_at, coalesce(closed_at, core.clock()) as until
from credits.reservations where account_id = any($1) and idempotency_key = any($2)
"""
_DONE = "select account_id, type, amount from credits.transactions where account_id = any($1)"
_ANYWHERE = """
select id::text, expires_at, core.clock() as until
from credits.reservations where status = 'pending' and expires_at <= core.clock()
"""


@dataclass
class Overdue:
    """Waits for the sweep, as long as it may take."""

    grace: timedelta
    leaked: Zero = field(init=False)
    undone: Zero = field(init=False)
    # Of the reservations left behind: those whose caller had no answer.
    unanswered: int = 0

    def __post_init__(self) -> None:
        past = f"past their time + {self.grace.total_seconds():g} s"
        self.leaked = Zero(f"reservations left behind and kept {past}", 0, "left behind")
        self.undone = Zero(f"grants not begun or ended {past}", 0, "that fell due")

    async def now(self, admin: Connection) -> datetime:
        """Return the time by Postgres' clock."""
        now: datetime = await admin.fetchval(_NOW)
        return now

    async def awaited(
        self, admin: Connection, opened: Opened, works: list[Work], since: datetime
    ) -> tuple[list[str], list[str], int]:
        """Wait until nothing is overdue, or is so for too long; say what that is.

        Also how many reservations were left behind. `since`: from when all that is needed ran.
        """
        keys = [work.key for work in works if work.is_left]

        async def done() -> tuple[list[str], list[str], int] | None:
            now = await self.now(admin)
            left = await admin.fetch(_LEFT, opened.all, keys)
            kept = [row for row in left if row["status"] == "pending"]
            late = [row for row in left if self._is_past(row["expires_at"], row["until"], since)]
            rows = {Given(*row) for row in await admin.fetch(_DONE, opened.idle)}
            missing = {given: due for given, due in opened.due.items() if given not in rows}
            too_late = [given for given, due in missing.items() if self._is_past(due, now, since)]
            if any(row not in late for row in kept) or len(too_late) < len(missing):
                return None
            told = [f"{row['key']}, ended {row['expires_at']}: {row['status']}" for row in late]
            return told, [f"{given}" for given in too_late], len(left)

        outcome = await seen(done, "the end of what time brings", seconds=self._seconds)
        assert outcome is not None
        return outcome

    async def judge(
        self, admin: Connection, opened: Opened, works: list[Work], truth: Truth, since: datetime
    ) -> None:
        """Wait, and count."""
        late, undone, left = await self.awaited(admin, opened, works, since)
        self.leaked.of += left
        self.undone.of += len(opened.due)
        for told in late:
            self.leaked.happened(told)
        for told in undone:
            self.undone.happened(told)
        answered = sum(
            work.is_left and "reservation" in truth.answers.get(work.steps[0], {}) for work in works
        )
        self.unanswered += left - answered

    async def judge_all(self, admin: Connection, since: datetime) -> None:
        """Wait until nothing is overdue anywhere, of any round; count what stays so."""
        late: list[Any] = []

        async def only_late() -> bool:
            nonlocal late
            rows = await admin.fetch(_ANYWHERE)
            late = [row for row in rows if self._is_past(row["expires_at"], row["until"], since)]
            return len(late) == len(rows)

        await seen(only_late, "the end of all that is overdue", seconds=self._seconds)
        for row in late:
            self.leaked.happened(f"{row['id']}, ended {row['expires_at']}: pending")

    @property
    def _seconds(self) -> float:
        """How long to look: by then all is done, or late by Postgres' clock."""
        return self.grace.total_seconds() + BACK_SECONDS

    def _is_past(self, due: datetime, until: datetime, since: datetime) -> bool:
        return max(due, since) + self.grace < until
