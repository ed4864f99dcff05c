"""Calls about an account itself: its terms, its time, its books."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from app.core.audit import Finding, Page, PageRow
from app.credits.calls import Calls
from app.credits.rows import (
    Actor,
    AllowanceSet,
    Balance,
    Brought,
    Checked,
    LimitsSet,
    Opened,
    Overdue,
    Policy,
    ReadBalance,
    TermsSet,
)

# A page is one statement, and a list of what it finds.
AUDITED_AT_ONCE = 1_000
_HIGHEST = 2**128 - 1


class Accounts(Calls):
    """Open, set terms, catch up, look, audit."""

    # Accounts and their terms.

    async def open_account(
        self,
        account_id: UUID,
        project_id: UUID,
        *,
        period_grant: int | None = None,
        welcome_grant: int | None = None,
        funded_until: datetime | None = None,
        actor: Actor | None = None,
    ) -> Opened:
        """Open an organization's account by its project's policy; again is no harm."""
        row = await self._database.call_one(
            Opened,
            "credits.open_account",
            p_account_id=account_id,
            p_project_id=project_id,
            p_period_grant=period_grant,
            p_welcome_grant=welcome_grant,
            p_funded_until=funded_until,
            p_actor=actor,
        )
        self._tell(row.version_before, row.balance)
        return row

    async def set_allowance(
        self,
        account_id: UUID,
        period_grant: int,
        idempotency_key: str,
        *,
        takes_effect: str = "now",
        rollover_cap: int | None = None,
        funded_until: datetime | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> AllowanceSet:
        """Set what an account is granted each month; -1 is unlimited, 0 none."""
        return await self._move(
            "set_allowance",
            AllowanceSet,
            "credits.set_allowance",
            p_account_id=account_id,
            p_period_grant=period_grant,
            p_idempotency_key=idempotency_key,
            p_takes_effect=takes_effect,
            p_rollover_cap=rollover_cap,
            p_funded_until=funded_until,
            p_reason=reason,
            p_actor=actor,
        )

    async def set_limits(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> LimitsSet:
        """Set how far an account may go, and when it is said to run low."""
        return await self._move(
            "set_limits",
            LimitsSet,
            "credits.set_limits",
            p_account_id=account_id,
            p_idempotency_key=idempotency_key,
            p_overdraft_limit=overdraft_limit,
            p_low_balance_percent=low_balance_percent,
            p_reason=reason,
            p_actor=actor,
        )

    async def set_terms(
        self,
        account_id: UUID,
        idempotency_key: str,
        *,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        period_grant: int | None = None,
        takes_effect: str = "now",
        rollover_cap: int | None = None,
        reason: str | None = None,
        actor: Actor | None = None,
    ) -> TermsSet:
        """Set limits and allowance together or not at all; None keeps what is."""
        return await self._move(
            "set_terms",
            TermsSet,
            "credits.set_terms",
            p_account_id=account_id,
            p_idempotency_key=idempotency_key,
            p_overdraft_limit=overdraft_limit,
            p_low_balance_percent=low_balance_percent,
            p_period_grant=period_grant,
            p_takes_effect=takes_effect,
            p_rollover_cap=rollover_cap,
            p_reason=reason,
            p_actor=actor,
        )

    async def set_policy(
        self,
        project_id: UUID,
        *,
        nanodollars_per_credit: int | None = None,
        increment: int | None = None,
        minimum_charge: int | None = None,
        period_grant: int | None = None,
        welcome_grant: int | None = None,
        rollover_cap: int | None = None,
        overdraft_limit: int | None = None,
        low_balance_percent: int | None = None,
        clawback_creates_overage: bool | None = None,
        settle_limit_factor: int | None = None,
        settle_limit_floor: int | None = None,
    ) -> Policy:
        """Set the credit rules of a project; None keeps what is."""
        return await self._database.call_one(
            Policy,
            "credits.set_policy",
            p_project_id=project_id,
            p_nanodollars_per_credit=nanodollars_per_credit,
            p_increment=increment,
            p_minimum_charge=minimum_charge,
            p_period_grant=period_grant,
            p_welcome_grant=welcome_grant,
            p_rollover_cap=rollover_cap,
            p_overdraft_limit=overdraft_limit,
            p_low_balance_percent=low_balance_percent,
            p_clawback_creates_overage=clawback_creates_overage,
            p_settle_limit_factor=settle_limit_factor,
            p_settle_limit_floor=settle_limit_floor,
        )

    # Reads.

    async def check_balance(self, account_id: UUID, required: int = 0) -> Checked:
        """Return the balance as of now and whether an amount could be reserved.

        What has come due since is worked first: a read is never behind time.
        """
        row = await self._check_balance(account_id, required)
        if row.due:
            await self.catch_up(account_id)
            row = await self._check_balance(account_id, required)
        return row

    async def _check_balance(self, account_id: UUID, required: int) -> Checked:
        return await self._database.call_one(
            Checked, "credits.check_balance", p_account_id=account_id, p_required=required
        )

    async def catch_up(self, account_id: UUID) -> Brought:
        """Work what has come due on an account."""
        row = await self._database.call_one(Brought, "credits.catch_up", p_account_id=account_id)
        self._tell(row.version_before, row.balance)
        return row

    async def balances(self, account_ids: Sequence[UUID]) -> dict[UUID, Balance]:
        """Return the balances of accounts as of now, in one question where nothing is due."""
        rows = await self._read_balances(account_ids)
        if due := [row.balance.account_id for row in rows if row.due]:
            for account_id in due:
                await self.catch_up(account_id)
            rows = [row for row in rows if not row.due] + await self._read_balances(due)
        return {row.balance.account_id: row.balance for row in rows}

    async def _read_balances(self, account_ids: Sequence[UUID]) -> list[ReadBalance]:
        return await self._database.call(
            ReadBalance, "credits.read_balances", p_account_ids=list(account_ids)
        )

    async def newer_balances(self, known: dict[UUID, int]) -> list[Balance]:
        """Return the balances that are newer than the known versions."""
        return await self._database.call(
            Balance,
            "credits.newer_balances",
            p_account_ids=list(known),
            p_versions=list(known.values()),
        )

    async def find_overdue(self, limit: int = 100) -> list[Overdue]:
        """Return accounts that wait for the sweep."""
        return await self._database.call(Overdue, "credits.find_overdue", p_limit=limit)

    async def from_cost(self, project_id: UUID, cost_nanodollars: int) -> int:
        """Return what a provider's cost is in micro-credits, by the project's rounding."""
        amount: int = await self._database.value(
            "select credits.from_cost(p_project_id => $1, p_cost_nanodollars => $2)",
            project_id,
            cost_nanodollars,
        )
        return amount

    async def next_boundary(self, start: datetime, anchor_day: int) -> datetime:
        """Return the end of a credit period that begins at `start`."""
        boundary: datetime = await self._database.value(
            "select credits.next_boundary(p_from => $1, p_anchor_day => $2)", start, anchor_day
        )
        return boundary

    async def audit(self, account_id: UUID | None = None) -> list[Finding]:
        """Prove every invariant of an account, or of all; name the rows that break one."""
        return await self._database.call(Finding, "credits.audit", p_account_id=account_id)

    async def audit_and_mark(self, first: UUID, last: UUID, *, since_last: bool = False) -> Page:
        """Audit the accounts whose ids lie in a range, their usage too; mark the clean ones.

        Since the last time, only what came after each account's mark is read; but all of an
        account in which something was found.
        """
        rows = await self._database.call(
            PageRow,
            "credits.audit_and_mark",
            p_first=first,
            p_last=last,
            p_since_last=since_last,
        )
        findings = [row.finding for row in rows if row.finding is not None]
        return Page(rows[0].read, rows[0].skipped, findings)

    async def audit_pages(
        self, account_id: UUID | None = None, *, since_last: bool = False
    ) -> AsyncIterator[Page]:
        """Audit and mark an account, or all of them, a page at a time as of its own moment.

        The pages cover every id that there may be: rows without their account lie on one too.
        """
        first, end = (0, _HIGHEST) if account_id is None else (account_id.int, account_id.int)
        while first <= end:
            ids = await self._database.fetch(
                "select account_id from credits.accounts where account_id between $1 and $2"
                " order by account_id limit $3",
                UUID(int=first),
                UUID(int=end),
                AUDITED_AT_ONCE,
            )
            last = ids[-1]["account_id"].int if len(ids) == AUDITED_AT_ONCE else end
            yield await self.audit_and_mark(UUID(int=first), UUID(int=last), since_last=since_last)
            first = last + 1
