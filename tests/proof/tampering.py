"""Tamper with the books as only a superuser could, and see the auditors name it, each time.

One micro-credit or one row: raised, lowered, its sign turned, deleted, copied, or moved to
another account; in any table of money, over a written history and over walks by chance. What
docs/auditor.md says cannot be seen is drawn again and counted.

Then the same against the audit since the last one: of accounts that were marked until some
moment of their lives, whatever it has to read since then.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
from asyncpg import Record

from app.core.database import Database, PoolLimits, prepare_connection
from app.credits import Credits
from tests.functions.walks import Walk, plan
from tests.proof.ground import Ground, ground
from tests.proof.verdict import Verdict, Zero, kept
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.history import History
from tests.support.marks import Marking
from tests.support.tampering import (
    ACCOUNTS,
    AUDIT,
    AUDIT_SINCE,
    CHANGES,
    EXTENSIONS,
    GRANTS,
    RECORDS,
    RESERVATIONS,
    SUBJECTS,
    TRANSACTIONS,
    VOIDS,
    Books,
)

WALKS = 6
KINDS = ("raised", "lowered", "turned", "deleted", "copied", "moved")

# What the auditor's page says that nothing else proves, as rows, by table and what is done.
_WHOLE = ("deleted", "copied", "moved")
_FIGURE = ("raised", "lowered", "turned")
_FOLLOWED = """
exists (
    select from credits.reservation_extensions as e
    where e.account_id = t.account_id and e.reservation_id = t.{id} and e.version > t.{version}
        and not exists (
            select from credits.transactions as l
            where l.account_id = t.account_id and l.version between t.{version} and e.version
        )
)
"""
BLIND: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    (GRANTS, "a grant of the future"): (_WHOLE, "state = 'scheduled'"),
    (VOIDS, "a void that took nothing"): (_WHOLE, "taken = 0 and overage_added = 0"),
    (EXTENSIONS, "an amount that another followed"): (
        _FIGURE,
        _FOLLOWED.format(id="reservation_id", version="version"),
    ),
    (RESERVATIONS, "an amount asked for and extended"): (
        _FIGURE,
        _FOLLOWED.format(id="id", version="opened_version"),
    ),
}

# What the audit since the last one reads: `k` is the account's mark, if it has one.
_SINCE = "k.version is null or {version} > k.version"
_MOVED = "a.account_hash is distinct from k.account_hash"
SINCE = {
    ACCOUNTS: "true",
    GRANTS: f"{_SINCE} or t.state <> 'closed' or t.id = any(k.grant_ids)".format(
        version="t.version"
    ),
    RESERVATIONS: f"{_SINCE} or t.id = any(k.reservation_ids)".format(version="t.opened_version"),
    EXTENSIONS: _SINCE.format(version="t.version"),
    TRANSACTIONS: _SINCE.format(version="t.version"),
    CHANGES: _SINCE.format(version="t.version"),
    VOIDS: f"{_SINCE} or t.version is null".format(version="t.version"),
    RECORDS: _SINCE.format(version="t.version"),
}
# What was asked for before the mark is proven with the ledger rows before it.
_ASKED_BEFORE = """
t.opened_version <= (
    select k.version from credits.audit_marks as k where k.account_id = t.account_id
) and exists (
    select from credits.reservation_extensions as e
    where e.account_id = t.account_id and e.reservation_id = t.id
)
"""
_NO_MARK = "not exists (select from credits.audit_marks as k where k.account_id = t.account_id)"
BLIND_SINCE = {
    (ACCOUNTS, "an account that has no mark"): (("deleted",), _NO_MARK),
    (RESERVATIONS, "asked for before the mark and extended"): (_FIGURE, _ASKED_BEFORE),
}


@dataclass(frozen=True)
class Draw:
    """One tampering: what is done to which column of which row."""

    table: str
    kind: str
    column: str
    row: Record
    other: Any

    def statement(self) -> tuple[str, list[Any]]:
        """Return the statement, `$1` the place of the row, and its arguments."""
        place: list[Any] = [self.row["place"]]
        if self.kind == "deleted":
            return f"delete from {self.table} where ctid = $1", place  # noqa: S608
        if self.kind == "copied":
            return (
                f"insert into {self.table} select * from {self.table} where ctid = $1",  # noqa: S608
                place,
            )
        change = {
            "raised": f"{self.column} = {self.column} + 1",
            "lowered": f"{self.column} = {self.column} - 1",
            "turned": f"{self.column} = -{self.column}",
            "moved": "account_id = $2",
        }[self.kind]
        arguments = [*place, self.other] if self.kind == "moved" else place
        return f"update {self.table} set {change} where ctid = $1", arguments  # noqa: S608

    def __str__(self) -> str:
        return (
            f"{self.table}.{self.column} {self.kind}: {self.row['named']}"
            f" of {self.row['account_id']}"
        )


class Tamperer:
    """Draws tamperings of one set of books, and tries them."""

    def __init__(
        self, admin: "asyncpg.Connection[Record]", chance: Random, *, since_last: bool = False
    ) -> None:
        self._admin = admin
        self._chance = chance
        self._since_last = since_last
        self._audit = AUDIT_SINCE if since_last else AUDIT
        self.books = Books(admin, self._audit)
        self.blind: Counter[str] = Counter()
        self.named: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Take down the walls and look at what there is to tamper with."""
        await self.books.take_down_walls()
        # Taken back: an audit since the last one marks what it reads.
        transaction = self._admin.transaction()
        await transaction.start()
        found = await self._admin.fetch(self._audit)
        await transaction.rollback()
        assert found == [], found
        self._figures: dict[str, list[str]] = {}
        for table, column in sorted(await self.books.figures()):
            self._figures.setdefault(table, []).append(column)
        self._rows = {table: await self._admin.fetch(self._drawn_from(table)) for table in SUBJECTS}
        self._accounts = sorted({row["account_id"] for row in self._rows[ACCOUNTS]})

    def _drawn_from(self, table: str) -> str:
        where = "true"
        if self._since_last:
            where = f"({SINCE[table]})" + f" and {_MOVED}" * (table != ACCOUNTS)
        return (
            "select t.place, t.account_id, t.named"  # noqa: S608
            f" from (select ctid as place, {SUBJECTS[table]} as named, * from {table}) as t"
            " left join (select account_id, hash_record_extended(accounts, 0) as account_hash"
            " from credits.accounts) as a on a.account_id = t.account_id"
            " left join credits.audit_marks as k on k.account_id = t.account_id"
            f" where {where} order by t.account_id, t.named"
        )

    async def draw(self) -> Draw:
        """Return a tampering that can be seen."""
        while True:
            table = self._chance.choice([table for table, rows in self._rows.items() if rows])
            kinds = KINDS if table in self._figures else _WHOLE
            # To move the account itself is to delete it twice over.
            kind = self._chance.choice([k for k in kinds if (table, k) != (ACCOUNTS, "moved")])
            row = self._chance.choice(self._rows[table])
            column = "row" if kind in _WHOLE else self._chance.choice(self._figures[table])
            drawn = Draw(
                table,
                kind,
                column,
                row,
                self._chance.choice([a for a in self._accounts if a != row["account_id"]]),
            )
            if column != "row" and not await self._changes(drawn):
                continue
            if (why := await self._blind(drawn)) is None:
                return drawn
            self.blind[why] += 1

    async def _changes(self, drawn: Draw) -> bool:
        value = await self._admin.fetchval(
            f"select {drawn.column} from {drawn.table} where ctid = $1",  # noqa: S608
            drawn.row["place"],
        )
        return value is not None and not (drawn.kind == "turned" and value == 0)

    async def _blind(self, drawn: Draw) -> str | None:
        blind = BLIND | BLIND_SINCE if self._since_last else BLIND
        for (table, why), (kinds, where) in blind.items():
            if table != drawn.table or drawn.kind not in kinds:
                continue
            if table == RESERVATIONS and drawn.column != "requested_amount":
                continue
            if await self._admin.fetchval(
                f"select exists (select from {table} as t where ctid = $1 and ({where}))",  # noqa: S608
                drawn.row["place"],
            ):
                return why
        return None

    async def find(self, drawn: Draw) -> bool:
        """Tamper, audit, take it back; return whether the account was named."""
        statement, arguments = drawn.statement()
        concerned = {drawn.row["account_id"]}
        if drawn.kind == "moved":
            concerned.add(drawn.other)
        async with self.books.tampered(statement, *arguments) as found:
            here = [each for each in found if each.account_id in concerned]
            itself = any(each.subject == drawn.row["named"] for each in here)
            self.named["the row itself" if itself else "a row that proves it"] += bool(here)
            return bool(here) and len(here) == len(found)


@asynccontextmanager
async def tampered_books(
    made: Ground, chance: Random, *, since_last: bool = False, broken: str = ""
) -> AsyncIterator[Tamperer]:
    """Write a history and some walks into a database of its own, and open it.

    `since_last`: the accounts are marked on the way, and audited since. `broken` is SQL that
    spoils the auditors: a proof that stays green then proves nothing.
    """
    async with made.database() as name:
        admin = await asyncpg.connect(made.servers.admin_url(name))
        await prepare_connection(admin)
        limits = PoolLimits(min_size=1, max_size=2)
        database = await Database.connect(made.servers.app_url(name), limits)
        credits = Marking(database, admin, chance) if since_last else Credits(database)
        accounts, clock = Accounts(database, admin), Clock(admin)
        try:
            await History(credits, accounts, clock).write()
            for _ in range(WALKS):
                account = await accounts.open(
                    30, allowance=40, overdraft=10, rollover_cap=15 * CREDIT
                )
                walk = Walk(credits, clock, account)
                for number, step in enumerate(plan(chance.randrange(2**32))):
                    await walk.step(*step, key=f"step {number}")
            await database.close()
            tamperer = Tamperer(admin, chance, since_last=since_last)
            await tamperer.prepare()
            if broken:
                await admin.execute(broken)
            yield tamperer
        finally:
            await admin.close()


async def prove(made: Ground, count: int, seed: int, books: int = 4, broken: str = "") -> Verdict:
    """Try `count` tamperings on each of both audits, spread over some books."""
    missed = Zero("missed", 0, "tamperings")
    missed_since = Zero("missed since a mark", 0, "tamperings")
    verdict = Verdict("tampering", seed, [missed, missed_since])
    blind: Counter[str] = Counter()
    named: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for zero in verdict.zeros:
        for book in range(books):
            chance = Random(f"{seed} {book}")
            opened = tampered_books(made, chance, since_last=zero is missed_since, broken=broken)
            async with opened as tamperer:
                for _ in range(count // books + (book < count % books)):
                    drawn = await tamperer.draw()
                    zero.of += 1
                    kinds[drawn.kind] += 1
                    if not await tamperer.find(drawn):
                        zero.happened(f"book {book}: {drawn}")
                blind += tamperer.blind
                named += tamperer.named
    verdict.figures = {
        "books": 2 * books,
        **kinds,
        **{f"named {what}": found for what, found in named.items()},
        **{f"drawn again, {why}": found for why, found in blind.items()},
    }
    return verdict


async def _run(count: int, seed: int) -> Verdict:
    async with ground() as made:
        return await prove(made, count, seed)


def main() -> None:
    """Try them and fail if one was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.tampering", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", nargs="?", type=Path, const=kept("tampering"))
    chosen = parser.parse_args()
    verdict = asyncio.run(_run(chosen.count, chosen.seed))
    raise SystemExit(verdict.finish(chosen.keep))


if __name__ == "__main__":
    main()
