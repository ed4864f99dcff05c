"""What Postgres says of a round, against what the clients know."""

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

from app.core.database import Database
from app.credits import Credits
from app.usage import Usage
from db.driver import Connection
from tests.proof.crashes.accounts import Given
from tests.proof.crashes.load import Step, Truth, Work
from tests.proof.verdict import Zero

_CHARGED = """
select idempotency_key, reservation_id::text, -amount as amount
from credits.transactions where account_id = any($1) and type = 'consumption'
"""
_RESERVED = """
select account_id, idempotency_key, id::text, amount, status
from credits.reservations where account_id = any($1)
"""
_GIVEN = """
select account_id, type, amount::bigint
from credits.transactions where account_id = any($1) and type <> 'consumption'
"""
# Each grant that takes effect says so once to those who must not miss it.
_TOLD = """
with given as (
    select account_id, version, count(*) as times from credits.transactions
    where account_id = any($1) and type in ('top_up', 'promotional') group by 1, 2
),
told as (
    select account_id, version, count(*) as times from events.outbox
    where account_id = any($1) and type = 'credits.granted' group by 1, 2
)
select account_id, version, coalesce(g.times, 0) as given, coalesce(t.times, 0) as told
from given as g full join told as t using (account_id, version)
where g.times is distinct from t.times
"""
_BALANCES = """
select account_id, available, reserved, overage from credits.accounts where account_id = any($1)
"""
_ENDED = {"released": "release", "expired": "expire"}


class Books:
    """Compares rows and sums; what it finds it tells the zeros.

    All of one moment: what was sent long ago, by a caller who is gone, may still happen.
    """

    def __init__(
        self,
        works: Iterable[Work],
        truth: Truth,
        given: Iterable[Given],
        due: Iterable[Given] = (),
    ) -> None:
        self._works = [work for work in works if Step(work.key, "reserve") not in truth.refused]
        self._truth = truth
        self._given = Counter(list(given))
        # Whether time has brought it yet is for others to judge.
        self._due = Counter(list(due))
        accounts = {given.account for given in self._given}
        self._accounts = sorted(accounts | {work.account for work in self._works})
        self._reservations = {
            step.key: answer["reservation"]["id"]
            for step, answer in truth.answers.items()
            if step.name == "reserve" and "reservation" in answer
        }

    async def compare(self, database: Database, lost: Zero, doubled: Zero, sums: Zero) -> None:
        """Look for what was acknowledged and is not there, and for what nobody asked for."""
        async with (
            database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await self._compare_effects(connection, lost, doubled)
            given = await self._compare_given(connection, lost, doubled)
            await self._compare_sums(connection, sums, given)

    async def _compare_effects(self, connection: Connection, lost: Zero, doubled: Zero) -> None:
        charged = await connection.fetch(_CHARGED, self._accounts)
        reserved = await connection.fetch(_RESERVED, self._accounts)
        found: Counter[tuple[str, str, int]] = Counter()
        by_id = {identifier: key for key, identifier in self._reservations.items()}
        for row in charged:
            if row["reservation_id"] is None:
                found["deduct", row["idempotency_key"], row["amount"]] += 1
            else:
                key = by_id.get(row["reservation_id"], row["reservation_id"])
                found["settle", key, row["amount"]] += 1
        for row in reserved:
            key = by_id.get(row["id"], row["idempotency_key"])
            found["reserve", key, row["amount"]] += 1
            if ended := _ENDED.get(row["status"]):
                found[ended, key, row["amount"]] += 1
        expected = Counter(_effect(work, step) for work in self._works for step in work.steps)
        expected.update(("expire", work.key, work.amount) for work in self._works if work.is_left)
        for effect, times in (expected - found).items():
            if Step(effect[1], effect[0]) in self._truth.answers:
                lost.happened(f"{effect}: {times} missing")
        for effect, times in (found - expected).items():
            doubled.happened(f"{effect}: {times} more than asked for")

    async def _compare_given(
        self, connection: Connection, lost: Zero, doubled: Zero
    ) -> Counter[Given]:
        """Compare what came and went by grants; return what did."""
        rows = await connection.fetch(_GIVEN, self._accounts)
        found = Counter(Given(*row) for row in rows)
        for given in (self._given - found).elements():
            lost.happened(f"{given}: missing")
        for given in (found - self._given - self._due).elements():
            doubled.happened(f"{given}: more than were given")
        for row in await connection.fetch(_TOLD, self._accounts):
            zero = lost if row["told"] < row["given"] else doubled
            zero.happened(
                f"{row['account_id']}, version {row['version']}: granted {row['given']} times,"
                f" told {row['told']} times"
            )
        return found

    async def _compare_sums(
        self, connection: Connection, sums: Zero, given: Counter[Given]
    ) -> None:
        balances = await connection.fetch(_BALANCES, self._accounts)
        stand = {
            row["account_id"]: (row["available"], row["reserved"], row["overage"])
            for row in balances
        }
        left = {(work.account, work.key) for work in self._works if work.is_left}
        open_left: Counter[UUID] = Counter()
        for row in await connection.fetch(_RESERVED, self._accounts):
            if row["status"] == "pending" and (row["account_id"], row["idempotency_key"]) in left:
                open_left[row["account_id"]] += row["amount"]
        for account in self._accounts:
            own = [work for work in self._works if work.account == account]
            came = sum(one.amount * n for one, n in given.items() if one.account == account)
            reserved = sum(work.amount for work in own if work.kind in {"hold", "scarce"})
            reserved += open_left[account]
            spent = sum(work.amount for work in own if work.kind == "deduct")
            spent += sum(work.used for work in own if work.kind == "settle")
            should = (came - reserved - spent, reserved, 0)
            if stand.get(account) != should:
                sums.happened(f"{account}: {stand.get(account)}, the truth is {should}")


async def audited(database: Database, findings: Zero, accounts: Iterable[UUID | None]) -> None:
    """Let both auditors look at accounts; none of them means all there are."""
    for auditor in (Credits(database), Usage(database)):
        for account in accounts:
            for finding in await auditor.audit(account):
                findings.happened(str(finding))


async def audited_between(database: Database, findings: Zero, accounts: list[UUID]) -> None:
    """Audit accounts that were opened one after the other: their ids make one range."""
    page = await Credits(database).audit_and_mark(min(accounts), max(accounts))
    for finding in page.findings:
        findings.happened(str(finding))


def _effect(work: Work, step: Step) -> tuple[str, str, int]:
    return step.name, work.key, work.used if step.name == "settle" else work.amount
