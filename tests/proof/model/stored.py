"""Whether what Postgres keeps of an account is what the model keeps."""

from typing import Any
from uuid import UUID

from app.core.database import Database
from tests.proof.model.account import Account
from tests.proof.model.compare import Mismatch
from tests.proof.model.shapes import Entry, Grant, Reservation

_ACCOUNT = (
    "select version, available, reserved, overage, overdraft_limit, lapsed, monthly, bonus,"
    " granted_total, spent_total, expired_total, clawed_back_total, spent_at_period_start,"
    " period_start, period_end, anchor_day, period_grant, rollover_cap, pending_period_grant,"
    " pending_rollover_cap, pending_at, funded_until, rollover_withheld, low_balance_percent,"
    " minimum_charge, level, next_due_at from credits.accounts where account_id = $1"
)
_GRANTS = (
    "select id, version, operation, source, category, priority, amount, remaining, state,"
    " effective_at, expires_at, refund_of, forfeited from credits.grants"
    " where account_id = $1 and (state <> 'closed' or version > $2) order by id"
)
_RESERVATIONS = (
    "select id, status, amount, requested_amount, opened_at, expires_at, opened_version,"
    " closed_version, closed_at, settled_version, settled_amount from credits.reservations"
    " where account_id = $1"
    " and (status = 'pending' or greatest(closed_version, settled_version) > $2)"
    " order by opened_version"
)
_LEDGER = (
    "select version, type, operation, amount, available_after, reserved_after, overage_after,"
    " created_at, drawn_grant_ids, drawn_amounts, reservation_id, grant_id, refund_of, estimated"
    " from credits.transactions where account_id = $1 and version > $2 order by version"
)
_CHANGES = (
    "select version, operation, created_at from credits.account_changes"
    " where account_id = $1 and version > $2 order by version"
)
_EXTENSIONS = (
    "select created_at, version, amount, expires_at from credits.reservation_extensions"
    " where account_id = $1 and version > $2 order by version"
)
_EVENTS = (
    "select version, type, created_at, payload from events.outbox"
    " where account_id = $1 and version > $2 order by version, type"
)


async def compare_stored(database: Database, account: Account, since: int) -> None:
    """Compare the account, what is open, and all that was written after a version."""
    [row] = await database.fetch(_ACCOUNT, account.id)
    _equal("account", [_columns(account)], [tuple(row)])
    _compare_grants(account, since, await database.fetch(_GRANTS, account.id, since))
    rows = await database.fetch(_RESERVATIONS, account.id, since)
    _equal(
        "reservations",
        [_reservation(r) for r in account.reservations if _is_recent(r, since)],
        [tuple(r) for r in rows],
    )
    rows = await database.fetch(_LEDGER, account.id, since)
    _equal(
        "ledger",
        [_entry(e) for e in account.ledger if e.version > since],
        [tuple(r) for r in rows],
    )
    rows = await database.fetch(_CHANGES, account.id, since)
    _equal("changes", [c for c in account.changes if c[0] > since], [tuple(r) for r in rows])
    rows = await database.fetch(_EXTENSIONS, account.id, since)
    raised = [e for r in account.reservations for e in r.extensions if e[1] > since]
    _equal("extensions", sorted(raised, key=lambda e: e[1]), [tuple(r) for r in rows])
    rows = await database.fetch(_EVENTS, account.id, since)
    told = sorted((e for e in account.events if e.version > since), key=lambda e: e.version)
    expected = [
        (
            e.version,
            e.type,
            e.at,
            {"grantId": str(e.grant.id), **e.payload} if e.grant is not None else e.payload,
        )
        for e in told
    ]
    _equal("events", sorted(expected, key=lambda e: e[:2]), [tuple(r) for r in rows])


def _columns(account: Account) -> tuple[Any, ...]:
    waits, cap = account.pending or (None, None)
    return (
        account.version,
        account.available,
        account.reserved,
        account.overage,
        account.overdraft_limit,
        sum(g.remaining for g in account.lapsed()),
        account.pool(monthly=True),
        account.pool(monthly=False),
        account.granted_total,
        account.spent_total,
        account.expired_total,
        account.clawed_back_total,
        account.spent_at_period_start,
        account.period_start,
        account.period_end,
        account.anchor_day,
        account.period_grant,
        account.rollover_cap,
        waits,
        cap,
        None if waits is None else account.period_end,
        account.funded_until,
        account.rollover_withheld,
        account.low_balance_percent,
        account.minimum_charge,
        account.level,
        account.due_at,
    )


def _compare_grants(account: Account, since: int, rows: list[Any]) -> None:
    recent = [g for g in account.grants if g.state != "closed" or (g.version or 0) > since]
    expected, actual = [], []
    for grant, row in zip(recent, rows, strict=False):
        # What time brought is met here for the first time.
        if grant.id is None and grant.version == row["version"]:
            grant.id = row["id"]
    expected = [_grant(g) for g in recent]
    actual = [tuple(row) for row in rows]
    _equal("grants", expected, actual)


def _grant(grant: Grant) -> tuple[Any, ...]:
    return (
        grant.id,
        grant.version,
        grant.operation,
        grant.source,
        grant.category,
        grant.priority,
        grant.amount,
        grant.remaining,
        grant.state,
        grant.effective_at,
        grant.expires_at,
        grant.refund_of,
        grant.forfeited,
    )


def _is_recent(reservation: Reservation, since: int) -> bool:
    closed = max(reservation.closed_version or 0, reservation.settled_version or 0)
    return reservation.status == "pending" or closed > since


def _reservation(made: Reservation) -> tuple[Any, ...]:
    return (
        made.id,
        made.status,
        made.amount,
        made.first[0],
        made.opened_at,
        made.expires_at,
        made.opened_version,
        made.closed_version,
        made.closed_at,
        made.settled_version,
        made.settled_amount,
    )


def _entry(entry: Entry) -> tuple[Any, ...]:
    drawn: tuple[list[UUID | None] | None, list[int] | None] = (None, None)
    if entry.drawn:
        drawn = ([g.id for g, _ in entry.drawn], [part for _, part in entry.drawn])
    return (
        entry.version,
        entry.type,
        entry.operation,
        entry.amount,
        entry.available_after,
        entry.reserved_after,
        entry.overage_after,
        entry.created_at,
        *drawn,
        entry.reservation.id if entry.reservation is not None else None,
        entry.grant.id if entry.grant is not None else None,
        entry.refund_of,
        entry.estimated,
    )


def _equal(what: str, expected: list[tuple[Any, ...]], actual: list[tuple[Any, ...]]) -> None:
    if expected == actual:
        return
    for place, (one, other) in enumerate(zip(expected, actual, strict=False)):
        if one != other:
            raise Mismatch(f"stored {what}[{place}]:\n  expected {one}\n  got      {other}")
    longer = expected[len(actual) :] or actual[len(expected) :]
    raise Mismatch(f"stored {what}: expected {len(expected)}, got {len(actual)}: {longer[:2]}")


async def written(database: Database, account: Account, since: int) -> list[str]:
    """Tell what both wrote after a version, side by side."""
    columns = "version, type, operation, amount, available_after, reserved_after, overage_after"
    rows = await database.fetch(
        f"select {columns} from credits.transactions"  # noqa: S608  # columns from above
        " where account_id = $1 and version > $2 order by version",
        account.id,
        since,
    )
    kept = [f"postgres {tuple(row)}" for row in rows]
    kept += [f"model    {_entry(e)[:7]}" for e in account.ledger if e.version > since]
    rows = await database.fetch(_CHANGES, account.id, since)
    kept += [f"postgres {row['version']} {row['operation']}" for row in rows]
    return kept + [f"model    {v} {name}" for v, name, _ in account.changes if v > since]
