"""Two accounts of the same credits: what the replay settled, what the server recorded.

Each call's charge goes into a fingerprint, a sum of hashes of reservation and amount:
two are equal only if every single charge is, and neither grows with the calls.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from app.replay.client import Client, Document, together
from app.replay.figures import read_credits, show_credits

_PAGE = 100
_READERS = 4

_BALANCE = Document.of(
    "creditBalance",
    """query($id: ID!) { creditBalance(organizationId: $id) {
        available reserved overage usedThisPeriod version } }""",
)
_LEDGER = Document.of(
    "creditTransactions",
    """query($id: ID!, $first: Int!, $after: String) {
        creditTransactions(organizationId: $id, first: $first, after: $after) {
            nodes { type amount reservationId } pageInfo { hasNextPage endCursor } } }""",
)


def fingerprint(reservation_id: str, microcredits: int) -> int:
    """Return what one charge adds to a fingerprint; nothing charged adds nothing."""
    if microcredits == 0:
        return 0
    digest = blake2b(f"{reservation_id}:{microcredits}".encode(), digest_size=16).digest()
    return int.from_bytes(digest)


@dataclass(slots=True)
class Account:
    """One organization as the replay knows it."""

    id: str
    runs_out: bool
    calls: int = 0
    settled: int = 0
    refused: int = 0
    failed: int = 0
    expected: int = 0
    fingerprint: int = 0

    def settle(self, reservation_id: str, microcredits: int) -> None:
        """Note a charge that the server confirmed."""
        self.settled += 1
        self.expected += microcredits
        self.fingerprint += fingerprint(reservation_id, microcredits)


@dataclass(slots=True)
class Record:
    """The same organization as the server recorded it."""

    available: int
    reserved: int
    overage: int
    used_this_period: int
    version: int
    granted: int = 0
    charged: int = 0
    fingerprint: int = 0

    @property
    def overspend(self) -> int:
        """What was charged beyond what was granted."""
        return max(0, self.charged - self.granted)


async def read_back(client: Client, accounts: Sequence[Account]) -> list[Record]:
    """Read balance and whole ledger of every account."""
    readers = asyncio.Semaphore(_READERS)

    async def read(number: int) -> Record:
        async with readers:
            return await _read(client, accounts[number].id)

    return await together(read, len(accounts))


async def _read(client: Client, organization_id: str) -> Record:
    balance = await client.ask(_BALANCE, {"id": organization_id})
    record = Record(
        available=read_credits(balance["available"]),
        reserved=read_credits(balance["reserved"]),
        overage=read_credits(balance["overage"]),
        used_this_period=read_credits(balance["usedThisPeriod"]),
        version=balance["version"],
    )
    after: str | None = None
    while True:
        page = await client.ask(_LEDGER, {"id": organization_id, "first": _PAGE, "after": after})
        for row in page["nodes"]:
            amount = read_credits(row["amount"])
            if row["type"] == "CONSUMPTION":
                record.charged -= amount
                record.fingerprint += fingerprint(row["reservationId"], -amount)
            else:
                # Whatever was taken back or expired was not there to be spent.
                record.granted += amount
        if not page["pageInfo"]["hasNextPage"]:
            return record
        after = page["pageInfo"]["endCursor"]


def compare(account: Account, record: Record) -> list[str]:
    """Return what does not add up, each in words that name the figures."""
    wrong: list[str] = []

    def differs(what: str, found: int, expected: int) -> bool:
        if found != expected:
            wrong.append(f"{what} {show_credits(found)}, expected {show_credits(expected)}")
        return found != expected

    sums = differs("the ledger charged", record.charged, account.expected)
    differs("usedThisPeriod says", record.used_this_period, account.expected)
    if record.fingerprint != account.fingerprint and not sums:
        wrong.append("the sums agree, but a call was charged another amount than it settled")
    differs(
        "the balance holds",
        record.available + record.reserved - record.overage,
        record.granted - record.charged,
    )
    if record.overspend:
        wrong.append(
            f"overspent: charged {show_credits(record.charged)}"
            f" of {show_credits(record.granted)} granted"
        )
    if record.reserved and not account.failed:
        wrong.append(f"{show_credits(record.reserved)} are still reserved, though all is settled")
    if account.refused and not account.runs_out:
        wrong.append(f"{account.refused} calls were refused, though it was granted enough for all")
    return [f"organization {account.id}: {line}" for line in wrong]
