"""What a round must have come to, worked out from the rows by another hand.

The account's own row is believed last: where it is written by two at once, it is wrong,
and adds up all the same.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from app.credits import Credits
from db.driver import Connection
from tests.proof.overspend.doors import Answer
from tests.proof.overspend.rounds import Round
from tests.proof.verdict import Zero

REPLAY: Final = "python -m tests.proof.overspend --seed {} --only {}"
_REFUSED: Final = "INSUFFICIENT_CREDITS"

_RESERVATIONS: Final = """
select r.id, r.amount, r.opened_version, r.closed_version, r.settled_amount
from credits.reservations as r where r.account_id = $1
"""
_ACCOUNT: Final = """
select a.available, a.reserved, a.overage, a.spent_total, a.version
from credits.accounts as a where a.account_id = $1
"""
_OTHER_VERSIONS: Final = """
select t.version from credits.transactions as t
where t.account_id = $1 and t.reservation_id is null
union all
select c.version from credits.account_changes as c where c.account_id = $1
"""


@dataclass
class Told:
    """What callers were told: each answer beside the amount it was for."""

    answers: list[tuple[int, Answer]] = field(default_factory=list)
    # What was answered to who brought something back.
    returned: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Judge:
    """Counts what must not happen."""

    def __init__(self, seed: int, admin: Connection, credits: Credits) -> None:
        self._seed = seed
        self._admin = admin
        self._credits = credits
        self.overspent = Zero("accepted without credits for it", 0, "requests")
        self.early = Zero("refused while there was room", 0, "refusals")
        self.short = Zero("places that were left or taken twice", 0, "places")
        self.other = Zero("not as many accepted as there are places", 0, "rounds of known places")
        self.unlike = Zero("answers that are not what Postgres holds", 0, "answers")
        self.inexact = Zero("balances that are not exact", 0, "accounts")
        self.holes = Zero("versions missing or given twice", 0, "versions")
        self.faults = Zero("faults", 0, "requests")
        self.audit = Zero("findings of the audit", 0, "accounts")

    @property
    def zeros(self) -> list[Zero]:
        """All of them."""
        return [
            self.overspent,
            self.early,
            self.short,
            self.other,
            self.unlike,
            self.inexact,
            self.holes,
            self.faults,
            self.audit,
        ]

    async def look(self, done: Round, account: UUID, told: Told) -> None:
        """Look at the rows of a round, and at what its callers were told."""
        replay = f"{REPLAY.format(self._seed, done.number)} ({done.entry}): "
        rows = await self._admin.fetch(_RESERVATIONS, account)
        balance = await self._admin.fetchrow(_ACCOUNT, account)
        assert balance is not None
        others = [row["version"] for row in await self._admin.fetch(_OTHER_VERSIONS, account)]
        moves = _moves(rows)

        lefts = self._walk(done, moves, len(told.answers), replay)
        self._compare(done, told, lefts, Counter(row["id"] for row in rows), replay)

        spent = sum(row["settled_amount"] or 0 for row in rows)
        reserved = sum(row["amount"] for row in rows if row["closed_version"] is None)
        exact = (done.opening - spent - reserved, reserved, 0, spent, balance["version"])
        self.inexact.of += 1
        if exact != tuple(balance):
            self.inexact.happened(f"{replay}{tuple(balance)}, not {exact}")

        versions = Counter(others) + Counter(version for version, _ in moves)
        wanted = Counter(range(1, balance["version"] + 1))
        self.holes.of += balance["version"]
        for version in sorted((versions - wanted) + (wanted - versions)):
            self.holes.happened(f"{replay}version {version}: {versions[version]} rows")

        self.audit.of += 1
        for finding in await self._credits.audit(account):
            self.audit.happened(f"{replay}{finding}")

    def _walk(self, done: Round, moves: list[tuple[int, int]], asked: int, replay: str) -> set[int]:
        """Go through all changes in the order of versions; return what was left each time."""
        left, lefts = done.opening, {done.opening}
        self.overspent.of += asked
        for version, moved in moves:
            left += moved
            lefts.add(left)
            if moved < 0 and left < 0:
                self.overspent.happened(f"{replay}{-left} beyond at version {version}")
        return lefts

    def _compare(
        self, done: Round, told: Told, lefts: set[int], held: Counter[UUID], replay: str
    ) -> None:
        """Compare what callers were told with what was there."""
        accepted = [answer for _, answer in told.answers if answer.reservation is not None]
        self.unlike.of += len(told.answers)
        claimed = Counter(answer.reservation for answer in accepted if answer.reservation)
        for reservation in sorted(((claimed - held) + (held - claimed)).elements()):
            told_of = f"told {claimed[reservation]} times, there {held[reservation]} times"
            self.unlike.happened(f"{replay}reservation {reservation}: {told_of}")
        if done.places is not None:
            self.short.of += done.places
            self.other.of += 1
            wrong = abs(len(accepted) - done.places)
            for _ in range(wrong):
                self.short.happened(f"{replay}{len(accepted)} accepted of {done.places}")
            if wrong:
                self.other.happened(f"{replay}{len(accepted)} accepted of {done.places}")

        refused = [(amount, answer) for amount, answer in told.answers if answer.code == _REFUSED]
        self.early.of += len(refused)
        for amount, answer in refused:
            spendable = answer.spendable
            if spendable is None or spendable >= amount or spendable not in lefts:
                self.early.happened(f"{replay}{amount} refused, with {spendable} to be had")

        self.faults.of += len(told.answers) + len(told.faults) + len(told.returned)
        codes = [answer.code for _, answer in told.answers] + told.returned
        for fault in [*told.faults, *(code for code in codes if code not in ("OK", _REFUSED))]:
            self.faults.happened(f"{replay}{fault}")


def _moves(rows: list[asyncpg.Record]) -> list[tuple[int, int]]:
    """Return every change by its version: how much it moved what is available."""
    opened = [(row["opened_version"], -row["amount"]) for row in rows]
    closed = [
        (row["closed_version"], row["amount"] - (row["settled_amount"] or 0))
        for row in rows
        if row["closed_version"] is not None
    ]
    return sorted(opened + closed)
