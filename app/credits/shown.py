"""Hot reads: what is asked for most, in one statement that builds the JSON of its answer.

The names are those of the contract. The statement holds the right to see: it answers
nothing to whoever may not, and nothing where something is due first; the long way then
says why, or does what is due.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.core.database import Database
from app.core.refusals import Refusal
from app.core.telemetry import DATABASE_SECONDS

# Postgres cuts off the rest of a longer name, and would not say so.
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Shown:
    """A field to be shown: by which name, which one, and which of its own."""

    key: str
    field: str
    fields: tuple["Shown", ...] = ()


@dataclass(frozen=True, slots=True)
class Sight:
    """Which organizations a viewer sees: all, those of a project, or a single one."""

    sees_all: bool = False
    project_id: UUID | None = None
    organization_id: UUID | None = None


class NotShownError(Exception):
    """A field that no hot read knows."""


def _id(column: str) -> str:
    return f"{column}::text"


def _credits(column: str) -> str:
    # By a factor, which is exact; a quotient is rounded.
    return f"trim_scale({column} * 0.000001)::text"


def _instant(column: str) -> str:
    # Microseconds only where there are any, and then all six.
    return (
        f"to_char({column} at time zone 'UTC', case when {column} = date_trunc('second', {column})"
        """ then 'YYYY-MM-DD"T"HH24:MI:SS"Z"' else 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' end)"""
    )


def _version_of(column: str) -> str:
    return f"t.account_id::text || ':' || {column}"


def _cursor(version: str) -> str:
    # As the contract's cursors are written: base 64 for addresses.
    return (
        f"translate(encode(convert_to('1:' || {version}, 'UTF8'), 'base64'), '+/' || chr(10), '-_')"
    )


_BALANCE = {
    "organizationId": _id("c.account_id"),
    "granted": _credits("c.granted"),
    "available": _credits("c.available"),
    "reserved": _credits("c.reserved"),
    "spendable": _credits("c.spendable"),
    "overage": _credits("c.overage"),
    "overdraftLimit": _credits("c.overdraft_limit"),
    "usedThisPeriod": _credits("c.used_this_period"),
    "monthly": _credits("c.monthly"),
    "bonus": _credits("c.bonus"),
    "total": _credits("c.total"),
    "remaining": _credits("c.remaining"),
    "usagePercentage": "c.usage_basis_points / 100::float8",
    "allowance": f"case when c.period_grant <> -1 then {_credits('c.period_grant')} end",
    "unlimited": "c.period_grant = -1",
    "periodStart": _instant("c.period_start"),
    "periodEnd": _instant("c.period_end"),
    "version": "c.balance_version",
}
_CHECK = {
    "canProceed": "c.can_proceed",
    "required": _credits("c.required"),
    "shortfall": _credits("c.shortfall"),
}
_TRANSACTION = {
    "id": _version_of("t.version"),
    "organizationId": _id("t.account_id"),
    "version": "t.version",
    "type": "upper(t.type)",
    "operation": "t.operation",
    "amount": _credits("t.amount"),
    "availableAfter": _credits("t.available_after"),
    "reservedAfter": _credits("t.reserved_after"),
    "overageAfter": _credits("t.overage_after"),
    "reservationId": _id("t.reservation_id"),
    "grantId": _id("t.grant_id"),
    "refundedTransactionId": _version_of("t.refund_of"),
    "estimated": _credits("t.estimated"),
    "idempotencyKey": "t.idempotency_key",
    "reason": "t.reason",
    "feature": "t.feature",
    "quality": "t.quality",
    "model": "t.model",
    "priceVersion": "t.price_version",
    "endCustomerRef": "t.end_customer_ref",
    "metadata": "t.metadata",
    "createdAt": _instant("t.created_at"),
}
_DRAW = {"grantId": _id("d.grant_id"), "amount": _credits("d.amount")}
_RELATED = {"type": "t.related_type", "id": "t.related_id", "name": "t.related_name"}
_ACTOR = {
    "kind": "t.actor_kind",
    "id": "coalesce(t.actor_id, '')",
    "label": "coalesce(t.actor_label, '')",
}
_PAGE = {
    "hasNextPage": "exists (select from page where place > $3)",
    "hasPreviousPage": "$2::bigint is not null",
    "startCursor": f"(select {_cursor('max(version)')} from page)",
    "endCursor": f"(select {_cursor('min(version)')} from page where place <= $3)",
}


def _seen(first: int) -> str:
    """Return the condition that a viewer sees the account; places from `first` on."""
    return (
        "exists (select from identity.organizations as o where o.id = $1"
        f" and (${first}::boolean or o.project_id = ${first + 1}::uuid"
        f" or o.id = ${first + 2}::uuid))"
    )


def balance_statement(fields: Sequence[Shown]) -> str:
    """Return the statement of `creditBalance`: account, and a sight."""
    return (
        f"select {_object(fields, _columns(fields, _BALANCE))}"
        f" from credits.check_balance($1) as c where not c.due and {_seen(2)}"
    )


def check_statement(fields: Sequence[Shown]) -> str:
    """Return the statement of `creditBalanceCheck`: account, amount, and a sight."""
    columns: dict[str, str] = {}
    for each in fields:
        if each.field == "balance":
            inner = _columns(each.fields, _BALANCE)
            columns[each.key] = f"({_object(each.fields, inner)})"
        else:
            columns |= _columns([each], _CHECK)
    return (
        f"select {_object(fields, columns)}"
        f" from credits.check_balance($1, $2) as c where not c.due and {_seen(3)}"
    )


def transactions_statement(fields: Sequence[Shown]) -> str:
    """Return the statement of `creditTransactions`.

    It takes an account, the version before which, how many, and a sight.
    One row more than asked is read, to see whether more follow.
    """
    columns: dict[str, str] = {}
    for each in fields:
        if each.field == "nodes":
            row = _object(each.fields, _transaction(each.fields))
            columns[each.key] = (
                f"array_to_json(array(select {row} from page as t"
                " where t.place <= $3 order by t.version desc))"
            )
        elif each.field == "pageInfo":
            columns[each.key] = f"({_object(each.fields, _columns(each.fields, _PAGE))})"
        else:
            raise NotShownError(each.field)
    return (
        "with page as materialized"
        " (select r.*, row_number() over (order by r.version desc) as place"
        " from credits.transactions as r where r.account_id = $1"
        " and r.version < coalesce($2::bigint, 9223372036854775807)"
        " order by r.version desc limit $3::bigint + 1)"
        f" select {_object(fields, columns)} where {_seen(4)}"
    )


def _transaction(fields: Sequence[Shown]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for each in fields:
        if each.field == "drawn":
            draw = _object(each.fields, _columns(each.fields, _DRAW))
            columns[each.key] = (
                f"array_to_json(array(select {draw}"
                " from unnest(t.drawn_grant_ids, t.drawn_amounts) with ordinality"
                " as d (grant_id, amount, place) order by d.place))"
            )
        elif each.field == "related":
            related = _object(each.fields, _columns(each.fields, _RELATED))
            columns[each.key] = (
                "case when num_nonnulls(t.related_type, t.related_id, t.related_name) > 0"
                f" then ({related}) end"
            )
        elif each.field == "actor":
            actor = _object(each.fields, _columns(each.fields, _ACTOR))
            columns[each.key] = f"case when t.actor_kind is not null then ({actor}) end"
        else:
            columns |= _columns([each], _TRANSACTION)
    return columns


def _columns(fields: Sequence[Shown], known: Mapping[str, str]) -> dict[str, str]:
    columns = {}
    for each in fields:
        if each.field not in known or each.fields:
            raise NotShownError(each.field)
        columns[each.key] = known[each.field]
    return columns


def _object(fields: Sequence[Shown], columns: Mapping[str, str]) -> str:
    """Return an expression for a JSON object, in the order of the fields."""
    names = [each.key for each in fields]
    if len(set(names)) < len(names) or max(map(len, names)) > _LONGEST_NAME:
        raise NotShownError(", ".join(names))
    listed = ", ".join(f'{columns[name]} as "{name}"' for name in names)
    return f"(select row_to_json(s) from (select {listed}) as s)"


class ShownCredits:
    """Runs those statements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, name: str, statement: str, *arguments: Any, sight: Sight) -> str | None:
        """Return the JSON of an answer; None where the long way has to say more."""
        started = time.perf_counter()
        try:
            shown: str | None = await self._database.value(
                statement,
                *arguments,
                sight.sees_all,
                sight.project_id,
                sight.organization_id,
            )
        except Refusal:
            # Such as an account that is not there.
            return None
        finally:
            DATABASE_SECONDS.labels(name).observe(time.perf_counter() - started)
        return shown
