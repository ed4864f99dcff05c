"""What is done to rows since the mark is named; what is done to older ones is not looked at."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from app.core.database import Database, prepare_connection
from app.credits import Credits, ExtendRequest, ReserveRequest, SettleRequest
from db.driver import Connection
from tests.conftest import Servers, cloned
from tests.support.accounts import CREDIT, Accounts
from tests.support.marks import audited_since
from tests.support.tampering import (
    ACCOUNTS,
    AUDIT_SINCE,
    CHANGES,
    EXTENSIONS,
    GRANTS,
    RECORDS,
    RESERVATIONS,
    TRANSACTIONS,
    Books,
    Tampering,
)

# Rows of the time since the mark, of the balance, and of what was open at the mark: what is
# done to one, and what is said of it.
NEW = "version > (select k.version from credits.audit_marks as k where k.account_id = t.account_id)"
OLD = NEW.replace(">", "<=")
SINCE = [
    Tampering(ACCOUNTS, "available = available + 1", "chain"),
    Tampering(ACCOUNTS, "reserved = reserved + 1", "reserved"),
    Tampering(ACCOUNTS, "bonus = bonus + 1", "bonus"),
    Tampering(ACCOUNTS, "spent_total = spent_total + 1", "spent_total"),
    Tampering(ACCOUNTS, "granted_total = granted_total + 1", "granted_total"),
    Tampering(ACCOUNTS, "overdraft_limit = overdraft_limit + 1", "terms"),
    Tampering(ACCOUNTS, "version = version + 1", "version", "'version ' || version + 1"),
    Tampering(GRANTS, "remaining = remaining - 1", "remaining", where="state <> 'closed'"),
    Tampering(GRANTS, "forfeited = forfeited + 1", "forfeited", where="state <> 'closed'"),
    Tampering(GRANTS, "amount = amount + 1", "activation", where="state <> 'closed'"),
    Tampering(GRANTS, "amount = amount + 1", "activation", where=NEW),
    Tampering(RESERVATIONS, "amount = amount + 1", "extension", where="status = 'pending'"),
    Tampering(RESERVATIONS, "status = 'expired'", "reservation_state", where="status = 'pending'"),
    Tampering(
        RESERVATIONS,
        "settled_amount = settled_amount + 1",
        "settlement",
        where=f"settled_amount > 0 and {NEW.replace('version >', 'settled_version >', 1)}",
    ),
    Tampering(EXTENSIONS, "expires_at = expires_at - interval '1 day'", "extension", where=NEW),
    Tampering(TRANSACTIONS, "amount = amount - 1", "chain", where=NEW),
    Tampering(TRANSACTIONS, "available_after = available_after + 1", "chain", where=NEW),
    Tampering(TRANSACTIONS, "reserved_after = reserved_after + 1", "reserved_after", where=NEW),
    Tampering(
        TRANSACTIONS,
        "drawn_amounts[1] = drawn_amounts[1] + 1",
        "remaining",
        "'grant ' || drawn_grant_ids[1]",
        f"{NEW} and drawn_amounts is not null",
    ),
    Tampering(CHANGES, "before = after", "terms", where=NEW),
    Tampering(RECORDS, "credits = credits + 1", "usage", where=NEW),
]
DELETED = [
    Tampering(GRANTS, "row", "remaining", where="state <> 'closed' and not " + NEW),
    Tampering(RESERVATIONS, "row", "reserved", "'account'", "status = 'pending'"),
    Tampering(EXTENSIONS, "row", "version", "'version ' || version", NEW),
    Tampering(
        TRANSACTIONS, "row", "version", "'version ' || version", f"{NEW} and operation <> 'settle'"
    ),
    Tampering(CHANGES, "row", "version", "'version ' || version", NEW),
    Tampering(RECORDS, "row", "usage", "'transaction ' || version", f"{NEW} and credits > 0"),
]
# Rows from before the mark that nothing has happened to since.
BEFORE = [
    Tampering(TRANSACTIONS, "amount = amount - 1", "chain", where=f"{OLD} and amount < 0"),
    # All but the last before the mark, which the mark is compared with.
    Tampering(
        TRANSACTIONS,
        "reserved_after = reserved_after + 1",
        "reserved_after",
        where=f"{OLD} and version < (select max(n.version) from credits.transactions as n"  # noqa: S608
        f" where n.account_id = t.account_id and n.{OLD})",
    ),
    Tampering(RECORDS, "credits = credits + 1", "usage", where=OLD),
    Tampering(
        RESERVATIONS,
        "settled_amount = settled_amount + 1",
        "settlement",
        where=f"settled_amount > 0 and {OLD.replace('version <=', 'settled_version <=', 1)}",
    ),
]


@pytest.fixture(scope="module")
async def admin_of_books(servers: Servers, template: str) -> AsyncIterator[Connection]:
    """Connect to books of an account that did everything before its mark and again since."""
    async with cloned(servers, template) as name:
        admin = await asyncpg.connect(servers.admin_url(name))
        await prepare_connection(admin)
        database = await Database.connect(servers.app_url(name))
        credits, accounts = Credits(database), Accounts(database, admin)
        account = await accounts.open(100)
        await work(credits, account, "before")
        assert await audited_since(credits) == []
        await admin.execute("update credits.audit_marks set first_id = core.uuidv7()")
        await work(credits, account, "since")
        await database.close()
        await Books(admin).take_down_walls()
        yield admin
        await admin.close()


async def work(credits: Credits, account: UUID, when: str) -> None:
    """Do what leaves a row in each table, and leave one reservation open."""
    for place in range(3):
        reserved = await credits.reserve(account, ReserveRequest(f"{when} {place}", 5 * CREDIT))
        if place < 2:
            await credits.settle(account, SettleRequest(reserved.reservation_id, 3 * CREDIT))
        else:
            await credits.extend(account, ExtendRequest(reserved.reservation_id, 6 * CREDIT))
    await credits.deduct(account, CREDIT, when)
    await credits.issue_grant(account, CREDIT, "top_up", when)
    await credits.set_limits(account, when, overdraft_limit=len(when) * CREDIT)


@pytest.mark.parametrize("tampering", SINCE, ids=str)
async def test_what_was_changed_since_is_named(
    admin_of_books: Connection, tampering: Tampering
) -> None:
    books = Books(admin_of_books, AUDIT_SINCE)
    for row in await books.rows(tampering):
        await books.expect(tampering, row, changed(tampering))


@pytest.mark.parametrize("tampering", DELETED, ids=str)
async def test_what_is_gone_since_is_named(
    admin_of_books: Connection, tampering: Tampering
) -> None:
    books = Books(admin_of_books, AUDIT_SINCE)
    for row in await books.rows(tampering):
        await books.expect(tampering, row, f"delete from {tampering.table} where ctid = $1")  # noqa: S608


@pytest.mark.parametrize("tampering", BEFORE, ids=str)
async def test_old_rows_are_left_to_the_full_audit(
    admin_of_books: Connection, tampering: Tampering
) -> None:
    since, full = Books(admin_of_books, AUDIT_SINCE), Books(admin_of_books)
    for row in await full.rows(tampering):
        async with since.tampered(changed(tampering), row["place"]) as found:
            assert found == set()
        await full.expect(tampering, row, changed(tampering))


def changed(tampering: Tampering) -> str:
    return f"update {tampering.table} as t set {tampering.column} where ctid = $1"  # noqa: S608
