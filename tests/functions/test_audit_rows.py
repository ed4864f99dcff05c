"""What the auditors say of rows that are gone, that stand twice, or that hold nonsense."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Servers
from tests.support.tampering import (
    ACCOUNTS,
    CHANGES,
    EXTENSIONS,
    GRANTS,
    RECORDS,
    RESERVATIONS,
    SUBJECTS,
    TRANSACTIONS,
    VOIDS,
    Books,
    Tampering,
    open_books,
)

CANCELED = "state = 'closed' and version is null"
OF_CANCELED = (
    "grant_id in (select id from credits.grants where state = 'closed' and version is null)"
)
# Opened and closed with nothing in between, and no ledger row that tells of it.
AT_ONCE = "closed_version = opened_version + 1 and coalesce(settled_amount, 0) = 0"
NEWEST = "(select a.version + 1 from credits.accounts as a where a.account_id = t.account_id)"
LAST_ID = "'ffffffff-ffff-7fff-bfff-ffffffffffff'::uuid"

DELETED = [
    Tampering(ACCOUNTS, "row", "orphan", "'change 1'"),
    Tampering(GRANTS, "row", "activation", "'transaction ' || version", "version is not null"),
    Tampering(
        GRANTS,
        "canceled",
        "cancel",
        "'change ' || (select v.version from credits.grant_voids as v where v.grant_id = id)",
        CANCELED,
    ),
    Tampering(
        RESERVATIONS, "row", "version", "'version ' || opened_version", f"({AT_ONCE}) is not true"
    ),
    Tampering(
        RESERVATIONS,
        "at once",
        "version",
        "format('versions %s to %s', opened_version, closed_version)",
        AT_ONCE,
    ),
    Tampering(
        RESERVATIONS,
        "settled",
        "settlement",
        "'transaction ' || settled_version",
        "settled_amount > 0",
    ),
    Tampering(EXTENSIONS, "row", "version", "'version ' || version"),
    Tampering(TRANSACTIONS, "row", "version", "'version ' || version", "operation <> 'settle'"),
    Tampering(
        TRANSACTIONS,
        "settle",
        "settlement",
        "'reservation ' || reservation_id",
        "operation = 'settle'",
    ),
    Tampering(TRANSACTIONS, "given", "activation", "'grant ' || grant_id", "amount > 0"),
    Tampering(CHANGES, "row", "version", "'version ' || version"),
    Tampering(
        VOIDS,
        "row",
        "void",
        "'transaction ' || version",
        f"version is not null and not {OF_CANCELED}",
    ),
    Tampering(VOIDS, "canceled", "cancel", "'grant ' || grant_id", OF_CANCELED),
    Tampering(RECORDS, "row", "usage", "'transaction ' || version", "credits > 0"),
    Tampering(RECORDS, "of nothing", "usage", "'reservation ' || reservation_id", "credits = 0"),
]

COPIED = [
    Tampering(ACCOUNTS, "copy", "version"),
    Tampering(GRANTS, "copy", "granted_by_grants", "'account'", "version is not null"),
    Tampering(RESERVATIONS, "copy", "version"),
    Tampering(EXTENSIONS, "copy", "version"),
    Tampering(TRANSACTIONS, "copy", "version"),
    Tampering(TRANSACTIONS, "copy", "chain"),
    Tampering(CHANGES, "copy", "version"),
    Tampering(VOIDS, "copy", "void"),
    Tampering(RECORDS, "copy", "usage"),
]

# The column that tells rows apart, and what the copy has there.
KEYS = {
    GRANTS: ("id", LAST_ID),
    RESERVATIONS: ("id", LAST_ID),
    EXTENSIONS: ("version", NEWEST),
    TRANSACTIONS: ("version", NEWEST),
    CHANGES: ("version", NEWEST),
    VOIDS: ("idempotency_key", "'zzz'"),
    RECORDS: ("id", LAST_ID),
}
AGAIN = [
    Tampering(GRANTS, "again", "activation", f"'grant ' || {LAST_ID}", "version is not null"),
    Tampering(GRANTS, "again", "cancel", f"'grant ' || {LAST_ID}", CANCELED),
    Tampering(RESERVATIONS, "again", "version", f"'reservation ' || {LAST_ID}"),
    Tampering(EXTENSIONS, "again", "version", f"'extension ' || {NEWEST}"),
    Tampering(TRANSACTIONS, "again", "version", f"'transaction ' || {NEWEST}"),
    Tampering(CHANGES, "again", "version", "'account'"),
    Tampering(VOIDS, "again", "void", "'void zzz'"),
    Tampering(RECORDS, "again", "usage", f"'record ' || {LAST_ID}"),
]

# What stands in one place only can be proven by nothing else. docs/auditor.md lists these.
BLIND = {
    "a grant of the future is deleted": ("delete from credits.grants where state = 'scheduled'"),
    "a grant of the future is larger": (
        "update credits.grants set amount = amount + 1, remaining = remaining + 1"
        " where state = 'scheduled'"
    ),
    "a void that took nothing is deleted": (
        "delete from credits.grant_voids where version is null"
    ),
    "an extension is larger until the next": (
        "update credits.reservation_extensions as e set amount = amount + 1"
        " where exists (select from credits.reservation_extensions as n"
        " where n.account_id = e.account_id and n.version = e.version + 1)"
    ),
    "a reservation is smaller until it is extended": (
        "update credits.reservations set requested_amount = requested_amount - 1"
        " where (account_id, opened_version + 1) in"
        " (select e.account_id, e.version from credits.reservation_extensions as e)"
    ),
    "an account is looked after too early": (
        "update credits.accounts set next_due_at = next_due_at - interval '1 day'"
        " where reserved > 0 and overage > 0"
    ),
    "a reason is another": (
        "update credits.transactions set reason = 'another' where type = 'reversal'"
    ),
}

EXTREMES = (2**63 - 1, 1 - 2**63)
NONSENSE = ("null", '"x"', "[]", "7", '{"periodGrant": "x", "fundedUntil": [], "after": {}}')
ODD_ARRAYS = ("{}", "{NULL}", "{1,2,3}", "{{1},{2}}")


@pytest.fixture(scope="module")
async def books(servers: Servers, template: str) -> AsyncIterator[Books]:
    async with open_books(servers, template) as books:
        yield books


@pytest.mark.parametrize("tampering", DELETED, ids=str)
async def test_row_that_is_gone_is_missed(books: Books, tampering: Tampering) -> None:
    for row in await books.rows(tampering):
        await books.expect(tampering, row, f"delete from {tampering.table} where ctid = $1")  # noqa: S608


@pytest.mark.parametrize("tampering", COPIED, ids=str)
async def test_row_that_stands_twice_is_found(books: Books, tampering: Tampering) -> None:
    for row in await books.rows(tampering):
        await books.expect(
            tampering,
            row,
            f"insert into {tampering.table} select t.* from {tampering.table} as t"  # noqa: S608
            " where t.ctid = $1",
        )


@pytest.mark.parametrize("tampering", AGAIN, ids=str)
async def test_row_that_stands_again_under_another_key_is_found(
    books: Books, tampering: Tampering
) -> None:
    key, new = KEYS[tampering.table]
    columns = await books.columns(tampering.table)
    values = ", ".join(new if column == key else f"t.{column}" for column in columns)
    for row in await books.rows(tampering):
        await books.expect(
            tampering,
            row,
            f"insert into {tampering.table} select {values} from {tampering.table} as t"  # noqa: S608
            " where t.ctid = $1",
        )


@pytest.mark.parametrize("statement", BLIND.values(), ids=BLIND.keys())
async def test_what_stands_in_one_place_only_is_not_proven(books: Books, statement: str) -> None:
    async with books.tampered(statement) as found:
        assert found == set()


@pytest.mark.parametrize("table", SUBJECTS)
async def test_no_figure_stops_the_auditor(books: Books, table: str) -> None:
    for held, column in sorted(await books.figures()):
        for extreme in EXTREMES if held == table else ():
            each = Tampering(table, column, "")
            row = (await books.rows(each, filled=True))[0]
            statement = f"update {table} set {column} = {extreme} where ctid = $1"  # noqa: S608
            async with books.tampered(statement, row["place"]) as found:
                assert row["account_id"] in {f.account_id for f in found}, (column, extreme)


@pytest.mark.parametrize("column", ["before", "after"])
async def test_no_document_stops_the_auditor(books: Books, column: str) -> None:
    for row in await books.rows(Tampering(CHANGES, column, "")):
        for nonsense in NONSENSE:
            async with books.tampered(
                f"update credits.account_changes set {column} = '{nonsense}' where ctid = $1",  # noqa: S608
                row["place"],
            ) as found:
                assert row["account_id"] in {f.account_id for f in found}, nonsense


@pytest.mark.parametrize("odd", ODD_ARRAYS)
async def test_no_array_stops_the_auditor(books: Books, odd: str) -> None:
    for row in await books.rows(Tampering(TRANSACTIONS, "drawn_amounts", ""), filled=True):
        async with books.tampered(
            f"update credits.transactions set drawn_amounts = '{odd}' where ctid = $1",  # noqa: S608
            row["place"],
        ) as found:
            assert row["account_id"] in {f.account_id for f in found}, row["named"]
