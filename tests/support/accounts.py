"""Accounts for tests, and a way to prove that nothing moved."""

from typing import Any
from uuid import UUID, uuid4

from app.core.database import Database
from app.credits import Credits
from app.credits.rows import Balance
from db.driver import Connection

CREDIT = 1_000_000

# Every table in which credits or the record of them stand.
MONEY_TABLES = (
    "credits.accounts",
    "credits.grants",
    "credits.reservations",
    "credits.reservation_extensions",
    "credits.transactions",
    "credits.account_changes",
    "credits.grant_voids",
    "usage.records",
    "events.outbox",
)


class Accounts:
    """Makes projects and organizations with an account."""

    def __init__(self, database: Database, admin: Connection) -> None:
        self._database = database
        self._admin = admin
        self._credits = Credits(database)
        # A test that breaks the books to see the auditor find it says so here.
        self.broken_on_purpose = False

    async def project(self, **policy: Any) -> UUID:
        """Make a project; keywords are those of `Credits.set_policy`."""
        project_id: UUID = await self._database.value(
            "select id from identity.create_project(p_slug => $1, p_name => $2)",
            f"p-{uuid4().hex[:12]}",
            "Project",
        )
        if policy:
            await self._credits.set_policy(project_id, **policy)
        return project_id

    async def open(
        self,
        credits: int = 0,
        *,
        allowance: int = 0,
        overdraft: int = 0,
        project_id: UUID | None = None,
        **policy: Any,
    ) -> UUID:
        """Make an organization whose account holds `credits` as one top-up without end.

        Whole credits, not micro-credits. `allowance` is granted each month.
        """
        if project_id is None:
            project_id = await self.project(
                period_grant=allowance * CREDIT if allowance > 0 else allowance,
                overdraft_limit=overdraft * CREDIT,
                **policy,
            )
        account_id: UUID = await self._database.value(
            "select id from identity.create_organization(p_project_id => $1, p_name => $2)",
            project_id,
            "Organization",
        )
        if credits:
            await self._credits.issue_grant(
                account_id, credits * CREDIT, "top_up", f"opening-{uuid4()}"
            )
        return account_id

    async def balance(self, account_id: UUID) -> Balance:
        """Return the balance as it is stored, without catching up."""
        [row] = await self._credits.newer_balances({account_id: -1})
        return row

    async def snapshot(self) -> dict[str, list[Any]]:
        """Return every row of every money table: equal snapshots mean nothing moved."""
        return {
            table: await self._admin.fetch(f"select * from {table} as t order by t::text")  # noqa: S608
            for table in MONEY_TABLES
        }
