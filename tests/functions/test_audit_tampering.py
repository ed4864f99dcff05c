"""What one change to one row, by one who may do anything, does not keep from the auditors."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Servers
from tests.support.tampering import (
    ACCOUNTS,
    CHANGES,
    EXTENSIONS,
    GRANTS,
    PROMISED,
    RECORDS,
    RESERVATIONS,
    TRANSACTIONS,
    VOIDS,
    Books,
    Tampering,
    open_books,
)

OF_CANCELED = (
    "grant_id in (select id from credits.grants where state = 'closed' and version is null)"
)
EXTENDED = "id in (select reservation_id from credits.reservation_extensions)"
LAST = (
    "version in (select max(e.version) from credits.reservation_extensions as e"
    " group by e.account_id, e.reservation_id)"
)
ON_TIME = "settled_version = closed_version and settled_amount > 0"

FIGURES = [
    Tampering(ACCOUNTS, "available", "chain"),
    Tampering(ACCOUNTS, "available", "conservation"),
    Tampering(ACCOUNTS, "reserved", "reserved"),
    Tampering(ACCOUNTS, "overage", "chain"),
    Tampering(ACCOUNTS, "overage", "conservation"),
    Tampering(ACCOUNTS, "overdraft_limit", "terms"),
    Tampering(ACCOUNTS, "lapsed", "lapsed"),
    Tampering(ACCOUNTS, "monthly", "monthly"),
    Tampering(ACCOUNTS, "bonus", "bonus"),
    Tampering(ACCOUNTS, "granted_total", "granted_total"),
    Tampering(ACCOUNTS, "granted_total", "granted_by_grants"),
    Tampering(ACCOUNTS, "spent_total", "spent_total"),
    Tampering(ACCOUNTS, "expired_total", "expired_total"),
    Tampering(ACCOUNTS, "clawed_back_total", "clawed_back_total"),
    Tampering(ACCOUNTS, "spent_at_period_start", "spent_at_period_start"),
    Tampering(ACCOUNTS, "period_grant", "terms"),
    Tampering(ACCOUNTS, "rollover_cap", "terms"),
    Tampering(ACCOUNTS, "rollover_withheld", "allowance"),
    Tampering(ACCOUNTS, "pending_period_grant", "terms"),
    Tampering(ACCOUNTS, "pending_rollover_cap", "terms"),
    Tampering(ACCOUNTS, "minimum_charge", "terms"),
    Tampering(GRANTS, "amount", "activation", where="version is not null"),
    Tampering(GRANTS, "amount", "grant_state", where="state = 'scheduled'"),
    Tampering(GRANTS, "amount", "cancel", where="state = 'closed' and version is null"),
    Tampering(GRANTS, "remaining", "remaining"),
    Tampering(GRANTS, "forfeited", "forfeited"),
    Tampering(RESERVATIONS, "amount", "extension"),
    Tampering(RESERVATIONS, "requested_amount", "extension", where=f"not {EXTENDED}"),
    Tampering(RESERVATIONS, "settled_amount", "settlement", where="settled_amount > 0"),
    Tampering(EXTENSIONS, "amount", "extension", "'reservation ' || reservation_id", LAST),
    Tampering(TRANSACTIONS, "amount", "chain"),
    Tampering(TRANSACTIONS, "available_after", "chain"),
    Tampering(TRANSACTIONS, "reserved_after", "reserved_after"),
    Tampering(TRANSACTIONS, "overage_after", "chain"),
    Tampering(TRANSACTIONS, "estimated", "estimate"),
    Tampering(VOIDS, "requested", "void"),
    Tampering(VOIDS, "taken", "void"),
    Tampering(VOIDS, "overage_added", "void"),
    Tampering(VOIDS, "missing", "void"),
    Tampering(RECORDS, "credits", "usage"),
]

# A version that no row has any more is a hole, and named as such.
VERSIONS = [
    Tampering(ACCOUNTS, "version", "version", "'version ' || version + 1"),
    Tampering(GRANTS, "version", "activation"),
    Tampering(GRANTS, "refund_of", "activation"),
    Tampering(
        RESERVATIONS,
        "opened_version",
        "version",
        "'version ' || opened_version",
        "closed_version is distinct from opened_version + 1",
    ),
    Tampering(RESERVATIONS, "closed_version", "reservation_state", where=ON_TIME),
    Tampering(
        RESERVATIONS,
        "closed_version",
        "version",
        "'version ' || closed_version",
        f"({ON_TIME}) is not true and closed_version > opened_version + 1",
    ),
    Tampering(RESERVATIONS, "settled_version", "settlement", where="settled_amount > 0"),
    Tampering(
        RESERVATIONS,
        "settled_version",
        "version",
        "'version ' || settled_version",
        "settled_amount = 0 and settled_version > closed_version",
    ),
    Tampering(EXTENSIONS, "version", "version", "'version ' || version"),
    Tampering(TRANSACTIONS, "version", "version", "'version ' || version", "operation <> 'settle'"),
    Tampering(
        TRANSACTIONS,
        "version",
        "settlement",
        "'reservation ' || reservation_id",
        "operation = 'settle'",
    ),
    Tampering(TRANSACTIONS, "refund_of", "activation", "'grant ' || grant_id"),
    Tampering(CHANGES, "version", "version", "'version ' || version"),
    Tampering(VOIDS, "version", "void", where=f"not {OF_CANCELED}"),
    Tampering(VOIDS, "version", "cancel", "'grant ' || grant_id", OF_CANCELED),
    Tampering(RECORDS, "version", "usage"),
]

INSTANTS = [
    Tampering(ACCOUNTS, "period_start", "period"),
    Tampering(ACCOUNTS, "period_end", "period"),
    Tampering(ACCOUNTS, "created_at", "period"),
    Tampering(ACCOUNTS, "pending_at", "terms"),
    Tampering(ACCOUNTS, "funded_until", "terms"),
    Tampering(ACCOUNTS, "next_due_at", "next_due"),
    Tampering(GRANTS, "effective_at", "activation", where="version is not null"),
    Tampering(
        GRANTS,
        "expires_at",
        "allowance",
        "'change ' || (select max(c.version) from credits.account_changes as c"
        " where c.account_id = t.account_id and c.version < t.version)",
        "operation = 'roll_period'",
    ),
    Tampering(RESERVATIONS, "opened_at", "extension", where=f"not {EXTENDED}"),
    Tampering(RESERVATIONS, "expires_at", "extension"),
    Tampering(RESERVATIONS, "closed_at", "settlement", where=ON_TIME),
    Tampering(EXTENSIONS, "expires_at", "extension", "'reservation ' || reservation_id", LAST),
    Tampering(TRANSACTIONS, "created_at", "activation", "'grant ' || grant_id", "amount > 0"),
    Tampering(TRANSACTIONS, "created_at", "draw_time", where="operation = 'expire_grant'"),
    Tampering(CHANGES, "created_at", "period", where="operation = 'roll_period'"),
]


# What no change of a single figure brings out by itself: the change, and what it breaks.
RULES = [
    Tampering(ACCOUNTS, "available = -1", "not_negative"),
    Tampering(TRANSACTIONS, "available_after = -1", "not_negative"),
    Tampering(ACCOUNTS, "available = 1", "one_sided", where="overage > 0"),
    Tampering(TRANSACTIONS, "available_after = 1", "one_sided", where="overage_after > 0"),
    Tampering(ACCOUNTS, "lapsed = reserved + 1", "lapsed_bounds"),
    Tampering(ACCOUNTS, "level = case level when 'ample' then 'low' else 'ample' end", "level"),
    Tampering(
        GRANTS,
        "expires_at = null",
        "allowance",
        where="pool = 'monthly' and version is not null",
    ),
    Tampering(ACCOUNTS, "monthly = monthly - 1", "unfunded", where="overage = 0"),
    Tampering(ACCOUNTS, "bonus = bonus + 1", "unfunded", where="available > 0"),
    Tampering(
        CHANGES,
        "after = jsonb_set(after, '{overdraftLimit}', '4999999')",
        "overspent",
        "(select 'reservation ' || r.id from credits.reservations as r"
        " where r.account_id = t.account_id and r.amount = 15000000)",
        "operation = 'open_account' and after -> 'overdraftLimit' = '20000000'"
        " and account_id in (select a.account_id from credits.accounts as a where a.overage > 0)",
    ),
    Tampering(
        CHANGES,
        "after = jsonb_set(after, '{rolloverCap}', '0')",
        "allowance",
        "'change ' || (select c.version from credits.account_changes as c"
        " where c.account_id = t.account_id and c.operation = 'roll_period'"
        " and c.version > t.version limit 1)",
        "operation = 'apply_pending_allowance'",
    ),
    Tampering(
        CHANGES,
        "after = jsonb_set(after, '{periodGrant}', '120000001')",
        "allowance",
        where="operation = 'set_allowance' and after -> 'pendingAt' = 'null'",
    ),
    Tampering(
        TRANSACTIONS,
        "available_after = 0, overage_after = 1",
        "unreserved",
        where="amount < 0 and type in ('expiration', 'plan_change', 'admin_adjustment')"
        " and operation <> 'lapse'",
    ),
    Tampering(
        TRANSACTIONS,
        "available_after = 0, overage_after = 1",
        "void",
        "'void ' || (select v.idempotency_key from credits.grant_voids as v"
        " where v.account_id = t.account_id"
        " and t.version = v.version - (v.overage_added > 0)::int)",
        "type = 'void' and drawn_amounts is not null",
    ),
    Tampering(
        TRANSACTIONS,
        "created_at = created_at - interval '1 year'",
        "time",
        # A late settle of nothing says no time, so neither is the next row's held against it.
        where="(account_id, version - 1) not in (select r.account_id, r.settled_version"
        " from credits.reservations as r where r.settled_version > r.closed_version)",
    ),
    Tampering(
        TRANSACTIONS,
        "amount = -amount",
        "sign",
        where="type not in ('admin_adjustment', 'plan_change', 'reversal')",
    ),
    Tampering(
        TRANSACTIONS,
        "drawn_amounts = null, drawn_grant_ids = null",
        "drawn",
        where="type in ('expiration', 'plan_change', 'admin_adjustment') and amount < 0",
    ),
    Tampering(
        TRANSACTIONS,
        "drawn_grant_ids[1] = gen_random_uuid()",
        "drawn",
        where="type = 'expiration' or amount > 0 and drawn_amounts is not null",
    ),
    Tampering(
        TRANSACTIONS,
        "drawn_amounts = null, drawn_grant_ids = null",
        "debt",
        where="(amount > 0 or type = 'consumption') and drawn_amounts is not null",
    ),
    Tampering(
        GRANTS,
        "amount = amount + 12000002",
        "refund",
        "'transaction ' || refund_of",
        "refund_of is not null",
    ),
    Tampering(GRANTS, "refund_of = 1", "refund", "'transaction 1'", "refund_of is not null"),
    Tampering(VOIDS, "version = null", "void", where=f"version is not null and not {OF_CANCELED}"),
    Tampering(GRANTS, "remaining = remaining + 1", "lapsed_held", where="state = 'lapsed'"),
    Tampering(GRANTS, "expires_at = effective_at", "grant_state"),
]


@pytest.fixture(scope="module")
async def books(servers: Servers, template: str) -> AsyncIterator[Books]:
    async with open_books(servers, template) as books:
        yield books


async def test_every_figure_of_the_money_tables_is_tampered_with(books: Books) -> None:
    assert await books.figures() == {(each.table, each.column) for each in FIGURES}


def test_every_promise_is_broken_once() -> None:
    broken = {each.invariant for each in (*FIGURES, *VERSIONS, *RULES, *INSTANTS)}
    # Marks are those of the audit since the last one, and broken where that is tested.
    assert broken | {"orphan", "remaining", "mark"} == PROMISED


@pytest.mark.parametrize("tampering", [*FIGURES, *VERSIONS], ids=str)
async def test_one_more_is_found_in_every_row(books: Books, tampering: Tampering) -> None:
    for row in await books.rows(tampering, filled=True):
        await books.expect(tampering, row, _changed(tampering, "+ 1"))


@pytest.mark.parametrize("tampering", [*FIGURES, *VERSIONS], ids=str)
async def test_one_less_is_found(books: Books, tampering: Tampering) -> None:
    if (tampering.table, tampering.column) == (ACCOUNTS, "version"):
        # No version is missing then: the account's own is too small.
        tampering = Tampering(ACCOUNTS, "version", "version")
    row = (await books.rows(tampering, filled=True))[-1]
    await books.expect(tampering, row, _changed(tampering, "- 1"))


@pytest.mark.parametrize("tampering", RULES, ids=str)
async def test_a_broken_rule_is_found_in_every_row(books: Books, tampering: Tampering) -> None:
    for row in await books.rows(tampering):
        await books.expect(
            tampering,
            row,
            f"update {tampering.table} as t set {tampering.column} where ctid = $1",  # noqa: S608
        )


@pytest.mark.parametrize("tampering", INSTANTS, ids=str)
async def test_a_microsecond_is_found_in_every_row(books: Books, tampering: Tampering) -> None:
    for row in await books.rows(tampering, filled=True):
        await books.expect(tampering, row, _changed(tampering, "+ interval '1 microsecond'"))


async def test_what_was_drawn_from_a_grant_is_found_in_every_row(books: Books) -> None:
    drawn = Tampering(TRANSACTIONS, "drawn_amounts", "remaining", "'grant ' || drawn_grant_ids[1]")
    for row in await books.rows(drawn, filled=True):
        await books.expect(
            drawn,
            row,
            "update credits.transactions set drawn_amounts[1] = drawn_amounts[1] + 1"
            " where ctid = $1",
        )


def _changed(tampering: Tampering, by: str) -> str:
    column = tampering.column
    return f"update {tampering.table} set {column} = {column} {by} where ctid = $1"  # noqa: S608
