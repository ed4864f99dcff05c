"""Who was decided beside other accounts, by what the books keep of it.

A call that decides for many accounts commits them together. Two rows of one transaction have
one `xmin`, which no client and no process of ours can claim. A reservation that was closed since
has the transaction of that; when it was opened still stands in it, and a call reads the clock
once. Two calls may read the same microsecond by chance: of 675 reserves decided alone, 2 did.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from db.driver import Connection
from tests.proof.crashes.load import Step, Truth
from tests.proof.verdict import Zero

# What can be decided for many at once: a deduction is always decided alone.
OPERATIONS = ("reserve", "settle", "release")
# At least one of so many is decided beside other accounts, or the rounds prove little of it.
ONE_IN = 4
# Of fewer requests that had happened without an answer, nothing is said.
_ENOUGH = 20
_DECIDED = """
with made as (
    select account_id, id, idempotency_key as key, status, opened_at, xmin
    from credits.reservations where account_id = any($1)
)
select account_id, key, 'reserve' as operation, opened_at::text as together from made
union all
select account_id, key, 'release', xmin::text from made where status = 'released'
union all
select t.account_id, m.key, 'settle', t.xmin::text
from credits.transactions as t
join made as m on (m.account_id, m.id) = (t.account_id, t.reservation_id)
where t.account_id = any($1) and t.type = 'consumption'
"""


async def beside_others(connection: Connection, accounts: Iterable[UUID]) -> dict[Step, bool]:
    """Say of all that was decided for accounts whether it was together with other accounts."""
    rows = await connection.fetch(_DECIDED, list(accounts))
    company: defaultdict[tuple[str, str], set[UUID]] = defaultdict(set)
    for row in rows:
        company[row["operation"], row["together"]].add(row["account_id"])
    return {
        Step(row["key"], row["operation"]): len(company[row["operation"], row["together"]]) > 1
        for row in rows
    }


@dataclass
class Company:
    """Counts it over rounds; too little of it is counted as what must not happen."""

    lonely: Zero = field(
        default_factory=lambda: Zero(
            f"rounds in which fewer than one in {ONE_IN} were decided beside other accounts",
            0,
            "rounds",
        )
    )
    decided: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)
    # Of each round, how many in a hundred.
    shares: list[int] = field(default_factory=list)
    # Of what had no answer and had happened.
    cut: Counter[str] = field(default_factory=Counter)
    cut_beside: Counter[str] = field(default_factory=Counter)

    async def judge(
        self, connection: Connection, accounts: Iterable[UUID], truth: Truth, fault: str, told: str
    ) -> None:
        """Count a round."""
        found = await beside_others(connection, accounts)
        beside = Counter(step.name for step, is_beside in found.items() if is_beside)
        self.decided.update(step.name for step in found)
        self.beside.update(beside)
        self.lonely.of += 1
        if beside.total() * ONE_IN < len(found):
            self.lonely.happened(f"{told}: {beside.total()} of {len(found)}")
        self.shares.append(100 * beside.total() // max(1, len(found)))
        cut = [found[step] for step in truth.committed if step in found]
        self.cut[fault] += len(cut)
        self.cut_beside[fault] += sum(cut)

    @property
    def rare(self) -> Zero:
        """What was decided beside other accounts too rarely, in all rounds."""
        counts = {name: (self.beside[name], self.decided[name]) for name in OPERATIONS}
        if self.cut.total() >= _ENOUGH:
            counts["had happened without an answer"] = self.cut_beside.total(), self.cut.total()
        zero = Zero(
            f"kinds of which fewer than one in {ONE_IN} were decided beside other accounts",
            len(counts),
            "kinds",
        )
        for name, (beside, decided) in counts.items():
            if beside * ONE_IN < max(1, decided):
                zero.happened(f"{name}: {beside} of {decided}")
        return zero

    @property
    def figures(self) -> dict[str, Any]:
        """Return what there was of it, for the verdict."""
        told: dict[str, Any] = {
            "reserves, settles and releases": self.decided.total(),
            "of them decided beside other accounts": self.beside.total(),
            "alone": self.decided.total() - self.beside.total(),
            "beside other accounts, in a hundred of a round": _spread(self.shares),
        }
        for name in OPERATIONS:
            told[f"{name}: beside other accounts"] = f"{self.beside[name]} of {self.decided[name]}"
        told["without an answer, had happened: beside other accounts"] = (
            f"{self.cut_beside.total()} of {self.cut.total()}"
        )
        return told


def _spread(shares: list[int]) -> str:
    in_order = sorted(shares) or [0]
    return (
        f"{in_order[0]} to {in_order[-1]}, half of the rounds {in_order[len(shares) // 2]} or more"
    )
