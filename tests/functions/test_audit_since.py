"""The audit since the last one: what it goes on from, what it reads, what it leaves alone."""

from datetime import timedelta
from random import Random
from uuid import UUID

import pytest
from asyncpg import Record

from app.core.database import Database
from app.credits import Credits, ExtendRequest, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.functions.walks import Walk, plan
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.history import History
from tests.support.marks import Marking, audited_since

WALKS = 8


async def marks(admin: Connection) -> dict[UUID, Record]:
    rows = await admin.fetch("select * from credits.audit_marks")
    return {row["account_id"]: row for row in rows}


# Where a mark says that newer ids begin: a minute before, just then, and never.
FIRST_IDS = {
    "early": "first_id",
    "then": "core.uuidv7()",
    "never": "'ffffffff-ffff-7fff-bfff-ffffffffffff'",
}


@pytest.mark.parametrize("first_id", FIRST_IDS)
@pytest.mark.parametrize("calls", [3, 1_000])
async def test_books_marked_along_the_way_are_clean(
    database: Database,
    accounts: Accounts,
    clock: Clock,
    admin: Connection,
    calls: int,
    first_id: str,
) -> None:
    chance = Random(f"marks {calls} {first_id}")
    credits = Marking(database, admin, chance, calls, FIRST_IDS[first_id])
    await History(credits, accounts, clock).write()
    for _ in range(WALKS):
        account = await accounts.open(30, allowance=40, overdraft=10, rollover_cap=15 * CREDIT)
        walk = Walk(credits, clock, account)
        for number in range(2):
            for place, step in enumerate(plan(chance.randrange(2**32))):
                await walk.step(*step, key=f"step {number} {place}")
    assert credits.audits > 10
    assert await audited_since(credits) == []
    assert await credits.audit() == []
