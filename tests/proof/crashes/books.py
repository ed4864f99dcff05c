"""What Postgres says of a round, against what the clients know."""

from collections import Counter
from collections.abc import Iterable

from app.core.database import Database
from app.credits import Credits
from app.usage import Usage
from tests.proof.crashes.load import Step, Truth, Work
from tests.proof.verdict import Zero
from tests.support.accounts import CREDIT

_CHARGED = """
select idempotency_key, reservation_id::text, -amount as amount
from credits.transactions where account_id = any($1) and type = 'consumption'
"""
_RESERVED = """
select idempotency_key, id::text, amount, status, settled_amount
from credits.reservations where account_id = any($1)
"""
_GRANTED = """
select count(*) from credits.transactions where account_id = any($1) and type <> 'consumption'
"""
_BALANCES = """
select account_id, available, reserved, overage from credits.accounts where account_id = any($1)
"""


class Books:
    """Compares rows and sums; what it finds it tells the zeros."""

    def __init__(self, works: Iterable[Work], truth: Truth, opening: int) -> None:
        self._works = list(works)
        self._truth = truth
        self._opening = opening * CREDIT
        self._accounts = sorted({work.account for work in self._works})
        self._reservations = {
            step.key: answer["reservation"]["id"]
            for step, answer in truth.answers.items()
            if step.name == "reserve" and "reservation" in answer
        }

    async def compare(self, database: Database, lost: Zero, doubled: Zero, sums: Zero) -> None:
        """Look for what was acknowledged and is not there, and for what nobody asked for."""
        charged = await database.fetch(_CHARGED, self._accounts)
        reserved = await database.fetch(_RESERVED, self._accounts)
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
            if row["status"] == "released":
                found["release", key, row["amount"]] += 1
        expected = Counter(_effect(work, step) for work in self._works for step in work.steps)
        for effect, times in (expected - found).items():
            if Step(effect[1], effect[0]) in self._truth.answers:
                lost.happened(f"{effect}: {times} missing")
        for effect, times in (found - expected).items():
            doubled.happened(f"{effect}: {times} more than asked for")
        if (grants := await database.value(_GRANTED, self._accounts)) != len(self._accounts):
            doubled.happened(f"{grants} other ledger rows, not {len(self._accounts)}")
        await self._compare_sums(database, sums)

    async def _compare_sums(self, database: Database, sums: Zero) -> None:
        rows = await database.fetch(_BALANCES, self._accounts)
        stand = {
            row["account_id"]: (row["available"], row["reserved"], row["overage"]) for row in rows
        }
        for account in self._accounts:
            own = [work for work in self._works if work.account == account]
            reserved = sum(work.amount for work in own if work.kind == "hold")
            spent = sum(work.amount for work in own if work.kind == "deduct")
            spent += sum(work.used for work in own if work.kind == "settle")
            should = (self._opening - reserved - spent, reserved, 0)
            if stand.get(account) != should:
                sums.happened(f"{account}: {stand.get(account)}, the truth is {should}")


async def audited(database: Database, findings: Zero) -> None:
    """Let both auditors look at everything."""
    for auditor in (Credits(database), Usage(database)):
        for finding in await auditor.audit():
            findings.happened(str(finding))


def _effect(work: Work, step: Step) -> tuple[str, str, int]:
    return step.name, work.key, work.used if step.name == "settle" else work.amount
