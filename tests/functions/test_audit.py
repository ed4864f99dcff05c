"""credits.audit and usage.audit: silent over true books, and heard through the application."""

from datetime import timedelta

from app.core.audit import Finding
from app.core.database import Database
from app.credits import Credits, ReserveRequest, SettleRequest
from app.usage import Usage
from db.driver import Connection
from tests.support.accounts import CREDIT, Accounts
from tests.support.clock import Clock
from tests.support.history import History

# Every kind of row the ledger can have, by type, operation and sign.
LEDGER = {
    ("plan_allocation", "open_account", 1),
    ("plan_allocation", "roll_period", 1),
    ("plan_allocation", "set_allowance", 1),
    ("plan_allocation", "replenish", 1),
    ("plan_change", "set_allowance", 1),
    ("plan_change", "set_allowance", -1),
    ("rollover", "roll_period", 1),
    ("rollover", "set_allowance", 1),
    ("top_up", "issue_grant", 1),
    ("promotional", "open_account", 1),
    ("promotional", "issue_grant", 1),
    ("referral", "issue_grant", 1),
    ("admin_adjustment", "issue_grant", 1),
    ("admin_adjustment", "adjust", 1),
    ("admin_adjustment", "adjust", -1),
    ("consumption", "settle", -1),
    ("consumption", "deduct", -1),
    ("expiration", "expire_grant", -1),
    ("expiration", "lapse", -1),
    ("refund", "refund", 1),
    ("reversal", "forgive_overage", 1),
    ("void", "void_grant", -1),
}
CHANGES = {
    "open_account",
    "set_allowance",
    "set_limits",
    "apply_pending_allowance",
    "roll_period",
    "cancel_grant",
}
# Status, whether it was settled late, whether it was settled for nothing.
RESERVATIONS = {
    ("pending", None, None),
    ("released", None, None),
    ("expired", None, None),
    ("settled", False, False),
    ("settled", False, True),
    ("settled", True, False),
    ("settled", True, True),
}
# What a void took, what became debt, what is missing.
VOIDS = {
    (True, False, False),
    (True, False, True),
    (True, True, False),
    (False, True, False),
    (False, False, True),
}


async def test_books_in_which_everything_happened_are_clean(
    credits: Credits, accounts: Accounts, clock: Clock, database: Database, admin: Connection
) -> None:
    await History(credits, accounts, clock).write()

    assert await credits.audit() == []
    assert await Usage(database).audit() == []
    for row in await admin.fetch("select account_id from credits.accounts"):
        assert await credits.audit(row["account_id"]) == []
        assert await Usage(database).audit(row["account_id"]) == []

    async def kinds(statement: str) -> set[tuple[object, ...]]:
        return {tuple(row) for row in await admin.fetch(statement)}

    assert (
        await kinds("select type, operation, sign(amount)::int from credits.transactions") == LEDGER
    )
    assert {(kind,) for kind in CHANGES} == await kinds(
        "select operation from credits.account_changes"
    )
    assert (
        await kinds(
            "select status, settled_version > closed_version, settled_amount = 0"
            " from credits.reservations"
        )
        == RESERVATIONS
    )
    assert (
        await kinds("select taken > 0, overage_added > 0, missing > 0 from credits.grant_voids")
        == VOIDS
    )
    assert {("scheduled",), ("live",), ("lapsed",), ("closed",)} == await kinds(
        "select state from credits.grants"
    )
    assert {(False, True), (True, False), (False, False)} == await kinds(
        "select available > 0, overage > 0 from credits.accounts"
    )


async def test_books_that_nobody_brought_up_to_date_are_clean(
    credits: Credits, accounts: Accounts, clock: Clock
) -> None:
    account = await accounts.open(10, allowance=5)
    await credits.reserve(account, ReserveRequest("k", CREDIT, ttl_seconds=60))
    await clock.advance(timedelta(days=100))
    assert await credits.audit(account) == []


async def test_finding_names_account_invariant_and_row(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account, neighbour = await accounts.open(10), await accounts.open(10)
    reserved = await credits.reserve(account, ReserveRequest("k", 4 * CREDIT))
    settled = await credits.settle(account, SettleRequest(reserved.reservation_id, 3 * CREDIT))
    await admin.execute("set session_replication_role = replica")
    await admin.execute(
        "update credits.transactions set estimated = estimated + 1 where account_id = $1"
        " and version = $2",
        account,
        settled.version,
    )
    found = await credits.audit()
    at = await admin.fetchval(
        "select created_at from credits.transactions where account_id = $1 and version = $2",
        account,
        settled.version,
    )
    when = f"{at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + "+00"
    assert found == [
        Finding(
            account_id=account,
            invariant="estimate",
            subject=f"transaction {settled.version}",
            expected=f"consumption of 3000000 at version {settled.version},"
            f" estimated 4000000, at {when}",
            actual=f"consumption of 3000000 at version {settled.version},"
            f" estimated 4000001, at {when}",
        )
    ]
    assert await credits.audit(account) == found
    assert await credits.audit(neighbour) == []


async def test_usage_finding_names_account_invariant_and_row(
    credits: Credits, accounts: Accounts, database: Database, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account, neighbour = await accounts.open(10), await accounts.open(10)
    deducted = await credits.deduct(account, 2 * CREDIT, "k")
    await admin.execute("delete from usage.records where account_id = $1", account)
    found = await Usage(database).audit()
    assert found == [
        Finding(
            account_id=account,
            invariant="usage",
            subject=f"transaction {deducted.version}",
            expected=f"2000000 micro-credits at version {deducted.version}",
            actual="none",
        )
    ]
    assert await Usage(database).audit(account) == found
    assert await Usage(database).audit(neighbour) == []
    assert await credits.audit() == []


async def test_account_whose_row_is_gone_is_named_once_for_each_table(
    credits: Credits, accounts: Accounts, admin: Connection
) -> None:
    accounts.broken_on_purpose = True
    account = await accounts.open(10)
    for key in ("a", "b"):
        await credits.deduct(account, CREDIT, key)
    await admin.execute("set session_replication_role = replica")
    await admin.execute("delete from credits.accounts where account_id = $1", account)
    orphans = [f for f in await credits.audit(account) if f.invariant == "orphan"]
    [grant] = await admin.fetch("select id from credits.grants where account_id = $1", account)
    assert [(f.subject, f.actual) for f in orphans] == [
        ("change 1", "none, for 1 such rows"),
        (f"grant {grant['id']}", "none, for 1 such rows"),
        ("transaction 2", "none, for 3 such rows"),
    ]


async def test_auditors_read_the_snapshot_of_their_caller(admin: Connection) -> None:
    # Volatile, each part would see what committed since the part before it.
    rows = await admin.fetch(
        "select p.oid::regprocedure::text as name, p.provolatile::text as volatility"
        " from pg_proc as p where p.pronamespace in ('credits'::regnamespace,"
        " 'usage'::regnamespace) and p.proname ~ '^_?audit|^settled_amounts$'"
    )
    assert len(rows) == 27
    # One marks what it audited in the same statement; one is a constant.
    assert {row["name"] for row in rows if row["volatility"] != "s"} == {
        "credits.audit_and_mark(uuid,uuid,boolean)",
        "credits._audit_from_nothing(uuid)",
    }
